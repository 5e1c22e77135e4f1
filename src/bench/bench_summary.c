#include "base/quantile.h"
#include "bench/bench.h"

struct kl_bench_summary kl_bench_summarise(double *values, size_t n)
{
    if (n == 0)
        return (struct kl_bench_summary){0};
    kl_sort_values(values, n);
    return (struct kl_bench_summary){.median = kl_quantile(values, n, 0.5),
                                     .p10 = kl_quantile(values, n, 0.1),
                                     .p90 = kl_quantile(values, n, 0.9),
                                     .n = n};
}
