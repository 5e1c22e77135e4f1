/*
 * The scalar tier: the specification of every kernel, in portable C.
 *
 * Written with the lanes and the order of operations that the vector tiers have, so that their
 * results can be compared with ==. fmaf is a fused multiply-add wherever it is in the source, and
 * nowhere else (-ffp-contract=off).
 */
#include <math.h>
#include <string.h>

#include "kernels/scalar.h"

/* Compares bits, of which those of infinity are above all others and those of a NaN above these: if
 * one number is a NaN, so is the result, and nothing hides it. */
static float largest_size(const float x[KL_BLOCK])
{
    uint32_t largest = 0;
    for (size_t i = 0; i < KL_BLOCK; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7FFFFFFFu;
        largest = bits > largest ? bits : largest;
    }
    float size;
    memcpy(&size, &largest, sizeof size);
    return size;
}

static void quantize(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride)
{
    struct kl_int8_block *out = blocks;
    for (size_t block = 0; block < n; block++, x += KL_BLOCK, out += stride) {
        float largest = largest_size(x);
        float inverse = largest >= KL_SMALLEST_BLOCK ? 127.0f / largest : 0.0f;
        int sums[2] = {0, 0};
        for (size_t i = 0; i < KL_BLOCK; i++) {
            float v = x[i] * inverse;
            /* not finite: only from a damaged model; any value will do, but a defined one */
            out->q[i] = fabsf(v) < 128.0f ? (int8_t)lrintf(v) : -128;
            sums[i / 16] += out->q[i];
        }
        kl_set_factors(out, largest / 127.0f, sums[0], sums[1]);
    }
}

static void rmsnorm(const float *x, const float *w, size_t n, float eps, float *y)
{
    float lanes[8] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % 8] = fmaf(x[i], x[i], lanes[i % 8]);
    float factor = 1.0f / sqrtf(sum_lanes(lanes) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * factor * w[i];
}

static void rope(float *x, const float *cosine, const float *sine, size_t dim)
{
    size_t half = dim / 2;
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = fmaf(a, cosine[i], -(b * sine[i]));
        x[i + half] = fmaf(a, sine[i], b * cosine[i]);
    }
}

static void swiglu(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i] * -KL_LOG2E;
        x = x < KL_EXP2_HIGH ? x : KL_EXP2_HIGH;
        out[i] = gate[i] / (1.0f + exp2_spec(x)) * up[i];
    }
}

#define PRODUCT(NAME, name, ...) [KL_##NAME] = kl_scalar_matmul_##name,
#define TERNARY(NAME, name, ...) [KL_##NAME] = kl_scalar_matmul_q2_k,
const struct kl_kernels kl_kernels_scalar = {
    .name = "scalar",
    .quantize = quantize,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .kv_store = {[KL_KV_F16] = kl_scalar_kv_store_f16, [KL_KV_INT8] = kl_scalar_kv_store_int8},
    .attend = {[KL_KV_F16] = kl_scalar_attend_f16, [KL_KV_INT8] = kl_scalar_attend_int8},
    .matmul_halves = kl_scalar_matmul_halves,
    .matmul = {KL_FLOAT_TYPES(PRODUCT) KL_BLOCK_PRODUCTS(PRODUCT) KL_TERNARY_TYPES(TERNARY)},
};
