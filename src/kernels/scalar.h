/*
 * The functions that the files of the scalar tier share, and those of which scalar.c makes its
 * table.
 */
#ifndef KL_KERNELS_SCALAR_H
#define KL_KERNELS_SCALAR_H

#include <math.h>
#include <string.h>

#include "kernels/layout.h"
#include "kernels/tiers.h"

/* The sum of 8 lanes in the order of two halvings of a vector. */
static inline float sum_lanes(const float v[8])
{
    float a0 = v[0] + v[4], a1 = v[1] + v[5], a2 = v[2] + v[6], a3 = v[3] + v[7];
    return (a0 + a2) + (a1 + a3);
}

/* 2^x as tiers.h defines it. */
static inline float exp2_spec(float x)
{
    x = x > KL_EXP2_LOW ? x : KL_EXP2_LOW;
    float t = x + KL_ROUND, r = x - (t - KL_ROUND);
    float p = fmaf(KL_EXP2_C5, r, KL_EXP2_C4);
    p = fmaf(p, r, KL_EXP2_C3);
    p = fmaf(p, r, KL_EXP2_C2);
    p = fmaf(p, r, KL_EXP2_C1);
    p = fmaf(p, r, 1.0f);
    uint32_t bits, n;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&n, &t, sizeof n);
    bits += n << 23; /* the low bits of t are n; the bits above are shifted out */
    memcpy(&p, &bits, sizeof p);
    return p;
}

#define DECLARE(NAME, name, ...) kl_matmul_fn kl_scalar_matmul_##name;
KL_FLOAT_TYPES(DECLARE)
KL_BLOCK_PRODUCTS(DECLARE)
#undef DECLARE
kl_matmul_halves_fn kl_scalar_matmul_halves;

kl_kv_store_fn kl_scalar_kv_store_f16, kl_scalar_kv_store_int8;
kl_attend_fn kl_scalar_attend_f16, kl_scalar_attend_int8;

#endif
