/*
 * How often values fell between fixed bounds. Adding is a binary search; nothing is allocated.
 * Not locked: one thread adds and reads.
 */
#ifndef KL_BASE_HISTOGRAM_H
#define KL_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define KL_MAX_BOUNDS 400

struct kl_histogram {
    const double *bounds; /* [n_bounds], ascending; the caller's, static */
    size_t n_bounds;
    uint64_t counts[KL_MAX_BOUNDS + 1]; /* [i]: above bounds[i - 1], at most bounds[i]; the last:
                                         * above all */
    uint64_t count;                     /* of all */
    double sum;
};

/* n_bounds: 1 to KL_MAX_BOUNDS. */
void kl_histogram_init(struct kl_histogram *h, const double *bounds, size_t n_bounds);

void kl_histogram_add(struct kl_histogram *h, double value);

/* The value below which a share (0 to 1) of all lie, taken as evenly spread within a bucket, the
 * first one from 0 on; the last bound when it lies above that; 0 when there is none. */
double kl_histogram_quantile(const struct kl_histogram *h, double share);

#endif
