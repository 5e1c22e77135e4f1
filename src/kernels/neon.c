/*
 * The NEON tiers: armv8-a as it began (Cortex-A53, A72: Raspberry Pi 3 and 4), with dot products
 * (Cortex-A76: Raspberry Pi 5), and with products of matrices (I8MM: Cortex-A510 and later), which
 * differ in the products only. All give the bits of scalar.c.
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

void kl_neon_quantize(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride)
{
    struct kl_int8_block *out = blocks;
    for (size_t block = 0; block < n; block++, x += KL_BLOCK, out += stride) {
        uint32x4_t largest = vdupq_n_u32(0); /* as bits, so that a NaN is the largest */
        for (int i = 0; i < KL_BLOCK; i += 4)
            largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
        float top = vgetq_lane_f32(vreinterpretq_f32_u32(vdupq_n_u32(vmaxvq_u32(largest))), 0);
        float inverse = top >= KL_SMALLEST_BLOCK ? 127.0f / top : 0.0f;
        int16_t sums[2];
        for (size_t half = 0; half < 2; half++) {
            const float *from = x + 16 * half;
            int16x8_t low = vcombine_s16(quantized(from, inverse), quantized(from + 4, inverse));
            int16x8_t high =
                vcombine_s16(quantized(from + 8, inverse), quantized(from + 12, inverse));
            int8x16_t bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
            vst1q_s8(out->q + 16 * half, bytes);
            sums[half] = vaddlvq_s8(bytes);
        }
        kl_set_factors(out, top / 127.0f, sums[0], sums[1]);
    }
}

void kl_neon_rmsnorm(const float *x, const float *w, size_t n, float eps, float *y)
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

void kl_neon_rope(float *x, const float *cosine, const float *sine, size_t dim)
{
    size_t half = dim / 2;
    for (size_t i = 0; i < half; i += 4) {
        float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + half + i);
        float32x4_t c = vld1q_f32(cosine + i), s = vld1q_f32(sine + i);
        vst1q_f32(x + i, vfmaq_f32(vnegq_f32(vmulq_f32(b, s)), a, c));
        vst1q_f32(x + half + i, vfmaq_f32(vmulq_f32(b, c), a, s));
    }
}

void kl_neon_swiglu(const float *gate, const float *up, size_t n, float *out)
{
    const float32x4_t one = vdupq_n_f32(1.0f), high = vdupq_n_f32(KL_EXP2_HIGH);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i);
        float32x4_t x = vminnmq_f32(vmulq_n_f32(g, -KL_LOG2E), high);
        float32x4_t e = vaddq_f32(one, exp2_lanes(x));
        vst1q_f32(out + i, vmulq_f32(vdivq_f32(g, e), vld1q_f32(up + i)));
    }
}
