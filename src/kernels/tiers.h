/*
 * The tables of the tiers, of which cpu.c chooses one, and the constants that all of them share:
 * those of quantisation and of the exponential function. For the files of kernels/ only.
 */
#ifndef KL_KERNELS_TIERS_H
#define KL_KERNELS_TIERS_H

#include "kernels/kernels.h"

#define KL_DECLARE_TIER(tier, name, needs) extern const struct kl_kernels kl_kernels_##tier;
KL_TIERS(KL_DECLARE_TIER)
#undef KL_DECLARE_TIER

/* A block of activations of which all are smaller counts as zeros: 127 divided by the largest must
 * be finite, or the integers would leave the range from -127 to 127, in which no sum of a product
 * overflows. */
#define KL_SMALLEST_BLOCK 0x1p-120f

/* exp(x) as every tier computes it: x is first limited to [KL_EXP_LOW, KL_EXP_HIGH], then
 * 2^n * p(r) with n = round(x / ln 2) by the magic-number trick, r = x - n ln 2 in two parts, and
 * p the Taylor polynomial of degree 6: |r| <= 0.347, so its error is below 1.3e-7 relative. */
#define KL_EXP_LOW    (-87.0f)
#define KL_EXP_HIGH   88.0f
#define KL_EXP_LOG2E  1.44269504f
#define KL_EXP_MAGIC  12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */
#define KL_EXP_LN2_HI 0.693359375f
#define KL_EXP_LN2_LO (-2.12194440e-4f)
#define KL_EXP_C2     0.5f
#define KL_EXP_C3     1.66666667e-1f
#define KL_EXP_C4     4.16666667e-2f
#define KL_EXP_C5     8.33333333e-3f
#define KL_EXP_C6     1.38888889e-3f

#endif
