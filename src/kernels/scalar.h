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

/* exp(x) as tiers.h defines it. */
static inline float exp_spec(float x)
{
    x = x > KL_EXP_LOW ? x : KL_EXP_LOW;
    x = x < KL_EXP_HIGH ? x : KL_EXP_HIGH;
    float t = fmaf(x, KL_EXP_LOG2E, KL_EXP_MAGIC);
    float n = t - KL_EXP_MAGIC;
    float r = fmaf(n, -KL_EXP_LN2_HI, x);
    r = fmaf(n, -KL_EXP_LN2_LO, r);
    float p = fmaf(KL_EXP_C6, r, KL_EXP_C5);
    p = fmaf(p, r, KL_EXP_C4);
    p = fmaf(p, r, KL_EXP_C3);
    p = fmaf(p, r, KL_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127u) << 23; /* the low bits of t are n; the bits above are shifted out */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#define DECLARE(NAME, name, ...) kl_matmul_fn kl_scalar_matmul_##name;
KL_FLOAT_TYPES(DECLARE)
KL_BLOCK_PRODUCTS(DECLARE)
#undef DECLARE
kl_matmul_halves_fn kl_scalar_matmul_halves;

kl_kv_store_fn kl_scalar_kv_store_f16, kl_scalar_kv_store_int8;
kl_attend_fn kl_scalar_attend_f16, kl_scalar_attend_int8;

#endif
