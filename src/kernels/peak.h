/*
 * The limits of a CPU with the instructions of a tier: loops that only read, or only multiply.
 * `kinglet bench` compares the speed of the model with them. The loops own nothing; any thread may
 * call them, and the caller measures the time.
 */
#ifndef KL_KERNELS_PEAK_H
#define KL_KERNELS_PEAK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Products of one step of `multiply`. */
#define KL_PEAK_MACS 256

struct kl_peak {
    const char *name; /* of the tier */
    /* The sum of all 64-bit words, modulo 2^64; size % 256 == 0. */
    uint64_t (*read)(const void *data, size_t size);
    /* The sum of KL_PEAK_MACS products of int8 per step, each of which is 1. Exact up to 16383
     * steps; it may wrap beyond. */
    uint64_t (*multiply)(size_t steps);
};

/* The loops of a tier; the scalar ones for a tier that has none of its own. */
const struct kl_peak *kl_peak_of(const struct kl_kernels *kernels);

#define KL_DECLARE_PEAK(tier, name, needs) extern const struct kl_peak kl_peak_##tier;
KL_TIERS(KL_DECLARE_PEAK)
#undef KL_DECLARE_PEAK

/* The read loop of all tiers that have AVX2; size % 256 == 0. */
uint64_t kl_avx2_peak_read(const void *data, size_t size);

#endif
