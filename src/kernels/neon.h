/*
 * The functions that the files of the NEON tiers share, and the parts of their tables. 8 lanes are
 * two vectors of 4 floats; every core of armv8-a has the instructions that are used here.
 */
#ifndef KL_KERNELS_NEON_H
#define KL_KERNELS_NEON_H

#include <arm_neon.h>

#include "kernels/matmul_tiles.h"
#include "kernels/tiers.h"

/* The sum of 8 lanes: v[0] holds the first four. */
INLINE float sum_lanes(float32x4x2_t v)
{
    float32x4_t a = vaddq_f32(v.val[0], v.val[1]);
    float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(vpadd_f32(b, b), 0);
}

/* 2^x as tiers.h defines it. The "nm" form returns the other operand if one is NaN. */
INLINE float32x4_t exp2_lanes(float32x4_t x)
{
    const float32x4_t round = vdupq_n_f32(KL_ROUND);
    x = vmaxnmq_f32(x, vdupq_n_f32(KL_EXP2_LOW));
    float32x4_t t = vaddq_f32(x, round), r = vsubq_f32(x, vsubq_f32(t, round));
    float32x4_t p = vfmaq_f32(vdupq_n_f32(KL_EXP2_C4), vdupq_n_f32(KL_EXP2_C5), r);
    p = vfmaq_f32(vdupq_n_f32(KL_EXP2_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(KL_EXP2_C2), p, r);
    p = vfmaq_f32(vdupq_n_f32(KL_EXP2_C1), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(t), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n));
}

/* 4 numbers of f16 as floats. */
INLINE float32x4_t load_f16(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

#define DECLARE(NAME, name, ...) kl_matmul_fn kl_neon_matmul_##name;
KL_FLOAT_TYPES(DECLARE)
#undef DECLARE

void kl_neon_quantize(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride);
void kl_neon_rmsnorm(const float *x, const float *w, size_t n, float eps, float *y);
void kl_neon_rope(float *x, const float *cosine, const float *sine, size_t dim);
void kl_neon_swiglu(const float *gate, const float *up, size_t n, float *out);

kl_kv_store_fn kl_neon_kv_store_f16, kl_neon_kv_store_int8;
kl_attend_fn kl_neon_attend_f16, kl_neon_attend_int8;

/* The table of a tier called `tier`; its products with quantised weights are those of the file, by
 * matmul_driver.h. */
#define FLOAT_PRODUCT(NAME, name, ...) .matmul[KL_##NAME] = kl_neon_matmul_##name,
#define TABLE(tier)                                                                                \
    {                                                                                              \
        .name = tier, .quantize = kl_neon_quantize, .rmsnorm = kl_neon_rmsnorm,                    \
        .rope = kl_neon_rope, .swiglu = kl_neon_swiglu,                                            \
        .kv_store[KL_KV_F16] = kl_neon_kv_store_f16,                                               \
        .kv_store[KL_KV_INT8] = kl_neon_kv_store_int8, .attend[KL_KV_F16] = kl_neon_attend_f16,    \
        .attend[KL_KV_INT8] = kl_neon_attend_int8,                                                 \
        KL_FLOAT_TYPES(FLOAT_PRODUCT) QUANTISED_PRODUCTS                                           \
    }

#endif
