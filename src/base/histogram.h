/*
 * Counts values between fixed bounds, for quantiles of measurements that are too many to keep
 * (base/quantile.h has those of values in memory). Adding is a binary search; nothing is allocated.
 *
 * Storage of the caller's; not locked, one thread at a time.
 */
#ifndef KL_BASE_HISTOGRAM_H
#define KL_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define KL_MAX_BOUNDS 400

struct kl_histogram {
    const double *bounds; /* [n_bounds], ascending; outlives the histogram */
    size_t n_bounds;
    uint64_t counts[KL_MAX_BOUNDS + 1]; /* [i]: values above bounds[i - 1], up to bounds[i];
                                         * the last one: above all bounds */
    uint64_t count;                     /* of all values */
    double sum;
};

/* n_bounds: 1 to KL_MAX_BOUNDS. */
void kl_histogram_init(struct kl_histogram *h, const double *bounds, size_t n_bounds);

void kl_histogram_add(struct kl_histogram *h, double value);

/* Estimates the value below which a share (0 to 1) of all values lie, as if the values of a bucket
 * were spread evenly in it; the first bucket begins at 0. Returns the last bound for values above
 * it, 0 without values. */
double kl_histogram_quantile(const struct kl_histogram *h, double share);

#endif
