/*
 * The NEON tiers: armv8-a as it began (Cortex-A53, A72: Raspberry Pi 3 and 4), and with dot
 * products (Cortex-A76: Raspberry Pi 5), which differ in the products only. Both give the bits of
 * scalar.c.
 */
#include <math.h>

#include "kernels/neon.h"

/* x * inverse as an integer; -128 for what is not below 128 in size, as scalar.c says. */
INLINE int16x4_t quantized(const float *x, float inverse)
{
    float32x4_t v = vmulq_n_f32(vld1q_f32(x), inverse);
    uint32x4_t sound = vcltq_f32(vabsq_f32(v), vdupq_n_f32(128.0f));
    return vmovn_s32(vbslq_s32(sound, vcvtnq_s32_f32(v), vdupq_n_s32(-128)));
}

static void quantize(const float *x, size_t k, int8_t *q, float *scale, int16_t *sum)
{
    for (size_t b = 0; b < k / KL_BLOCK; b++, x += KL_BLOCK, q += KL_BLOCK) {
        float32x4_t largest = vdupq_n_f32(0.0f);
        for (int i = 0; i < KL_BLOCK; i += 4)
            largest = vmaxnmq_f32(largest, vabsq_f32(vld1q_f32(x + i)));
        float top = vmaxnmvq_f32(largest);
        float inverse = top > 0.0f ? 127.0f / top : 0.0f;
        scale[b] = top / 127.0f;
        for (size_t half = 0; half < 2; half++) {
            const float *from = x + 16 * half;
            int16x8_t low = vcombine_s16(quantized(from, inverse), quantized(from + 4, inverse));
            int16x8_t high =
                vcombine_s16(quantized(from + 8, inverse), quantized(from + 12, inverse));
            int8x16_t bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
            vst1q_s8(q + 16 * half, bytes);
            sum[2 * b + half] = vaddlvq_s8(bytes);
        }
    }
}

static void rmsnorm(const float *x, const float *w, size_t n, float eps, float *y)
{
    float32x4x2_t squares = {{vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)}};
    for (size_t i = 0; i < n; i += 8) {
        float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + 4);
        squares.val[0] = vfmaq_f32(squares.val[0], a, a);
        squares.val[1] = vfmaq_f32(squares.val[1], b, b);
    }
    float factor = 1.0f / sqrtf(sum_lanes(squares) / (float)n + eps);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + i), factor);
        vst1q_f32(y + i, vmulq_f32(v, vld1q_f32(w + i)));
    }
}

static void rope(float *x, const float *cosine, const float *sine, size_t dim)
{
    size_t half = dim / 2;
    for (size_t i = 0; i < half; i += 4) {
        float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + half + i);
        float32x4_t c = vld1q_f32(cosine + i), s = vld1q_f32(sine + i);
        vst1q_f32(x + i, vfmaq_f32(vnegq_f32(vmulq_f32(b, s)), a, c));
        vst1q_f32(x + half + i, vfmaq_f32(vmulq_f32(b, c), a, s));
    }
}

static void swiglu(const float *gate, const float *up, size_t n, float *out)
{
    const float32x4_t one = vdupq_n_f32(1.0f);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i);
        float32x4_t e = vaddq_f32(one, exp_lanes(vnegq_f32(g)));
        vst1q_f32(out + i, vmulq_f32(vdivq_f32(g, e), vld1q_f32(up + i)));
    }
}

/* products: the prefix of the functions for quantised weights */
#define TABLE(tier, products)                                                                      \
    {                                                                                              \
        .name = tier, .quantize = quantize, .rmsnorm = rmsnorm, .rope = rope, .swiglu = swiglu,    \
        .kv_store = {[KL_KV_F16] = kl_neon_kv_store_f16, [KL_KV_INT8] = kl_neon_kv_store_int8},    \
        .attend = {[KL_KV_F16] = kl_neon_attend_f16, [KL_KV_INT8] = kl_neon_attend_int8},          \
        .matmul_halves = products##_halves,                                                        \
        .matmul = {                                                                                \
            [KL_F32] = kl_neon_matmul_f32,     [KL_F16] = kl_neon_matmul_f16,                      \
            [KL_BF16] = kl_neon_matmul_bf16,   [KL_Q4_0] = products##_q4_0,                        \
            [KL_Q4_1] = products##_q4_1,       [KL_Q5_0] = products##_q5_0,                        \
            [KL_Q5_1] = products##_q5_1,       [KL_Q8_0] = products##_q8_0,                        \
            [KL_Q8_HIGH] = products##_q8_high, [KL_Q4_K] = products##_q4_k,                        \
            [KL_Q5_K] = products##_q5_k,       [KL_Q6_K] = products##_q6_k,                        \
        },                                                                                         \
    }

const struct kl_kernels kl_kernels_neon = TABLE("neon", kl_neon_matmul);
const struct kl_kernels kl_kernels_neon_dotprod = TABLE("neon-dotprod", kl_neon_dotprod_matmul);
