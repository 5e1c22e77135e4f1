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

/* 2^x as every tier computes it, for x up to KL_EXP2_HIGH; below KL_EXP2_LOW, and NaN, count as
 * KL_EXP2_LOW. It is p(r) with n = round(x), by adding KL_ROUND, added to its exponent; r = x - n
 * is exact, and p(0) is 1. p is the polynomial of degree 5 with the least relative error for |r| <=
 * 0.5 (fitted by weighted least squares): 9.2e-8, and 1.6e-7 with its own rounding. */
#define KL_EXP2_LOW  (-125.0f)
#define KL_EXP2_HIGH 126.0f
#define KL_EXP2_C1   0.693147004f
#define KL_EXP2_C2   0.240222424f
#define KL_EXP2_C3   0.0555073358f
#define KL_EXP2_C4   0.00967151392f
#define KL_EXP2_C5   0.00132647308f
#define KL_ROUND     12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */

#endif
