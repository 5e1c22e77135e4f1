#include "base/histogram.h"

#include <assert.h>

void kl_histogram_init(struct kl_histogram *h, const double *bounds, size_t n_bounds)
{
    assert(n_bounds >= 1 && n_bounds <= KL_MAX_BOUNDS);
    *h = (struct kl_histogram){.bounds = bounds, .n_bounds = n_bounds};
}

void kl_histogram_add(struct kl_histogram *h, double value)
{
    size_t low = 0, high = h->n_bounds; /* the first bound that is not below it */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (value > h->bounds[middle])
            low = middle + 1;
        else
            high = middle;
    }
    h->counts[low]++;
    h->count++;
    h->sum += value;
}

double kl_histogram_quantile(const struct kl_histogram *h, double share)
{
    double wanted = share * (double)h->count, below = 0;
    if (h->count == 0)
        return 0;
    for (size_t i = 0; i < h->n_bounds; i++) {
        double inside = (double)h->counts[i];
        if (inside > 0 && below + inside >= wanted) {
            double low = i > 0 ? h->bounds[i - 1] : 0;
            return low + (h->bounds[i] - low) * (wanted - below) / inside;
        }
        below += inside;
    }
    return h->bounds[h->n_bounds - 1];
}
