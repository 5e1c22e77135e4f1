#include "base/quantile.h"

#include <assert.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void kl_sort_values(double *values, size_t n)
{
    if (n > 0)
        qsort(values, n, sizeof *values, compare);
}

double kl_quantile(const double *sorted, size_t n, double share)
{
    assert(n > 0);
    double at = share * (double)(n - 1);
    size_t below = (size_t)at;
    size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

double kl_nearest_rank(const double *sorted, size_t n, unsigned percent)
{
    assert(n > 0 && percent >= 1 && percent <= 100);
    return sorted[(n * percent + 99) / 100 - 1];
}
