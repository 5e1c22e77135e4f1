/*
 * The scalar tier: the specification of every kernel, in portable C.
 *
 * Written with the lanes and the order of operations that the vector tiers have, so that their
 * results can be compared with ==. fmaf is a fused multiply-add wherever it is in the source, and
 * nowhere else (-ffp-contract=off).
 */
#include <math.h>
#include <string.h>

#include "kernels/layout.h"
#include "kernels/tiers.h"

/* The sum of 8 lanes, as two halvings of a vector do it. */
static float sum_lanes(const float v[8])
{
    float a0 = v[0] + v[4], a1 = v[1] + v[5], a2 = v[2] + v[6], a3 = v[3] + v[7];
    return (a0 + a2) + (a1 + a3);
}

static float exp_spec(float x)
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
    bits = (bits + 127u) << 23; /* the low bits of t are n; what stands above is shifted out */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static void quantize(const float *x, size_t k, int8_t *q, float *scale, int16_t *sum)
{
    for (size_t b = 0; b < k / KL_BLOCK; b++, x += KL_BLOCK, q += KL_BLOCK) {
        float largest = 0.0f;
        for (size_t i = 0; i < KL_BLOCK; i++)
            largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
        scale[b] = largest / 127.0f;
        int sums[2] = {0, 0};
        for (size_t i = 0; i < KL_BLOCK; i++) {
            float v = x[i] * inverse;
            /* not finite: only from a damaged model; any value will do, but a defined one */
            q[i] = fabsf(v) < 128.0f ? (int8_t)lrintf(v) : -128;
            sums[i / 16] += q[i];
        }
        sum[2 * b] = (int16_t)sums[0];
        sum[2 * b + 1] = (int16_t)sums[1];
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
    for (size_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + exp_spec(-gate[i])) * up[i];
}

static void kv_store(const float *k, const float *v, size_t dim, uint16_t *k_page, uint16_t *v_page,
                     size_t slot)
{
    for (size_t d = 0; d < dim; d++) {
        k_page[d * KL_KV_PAGE_TOKENS + slot] = kl_f32_to_f16(k[d]);
        v_page[slot * dim + d] = kl_f32_to_f16(v[d]);
    }
}

/* One page for one head; out holds the unnormalised sum so far. `first`: out is undefined yet. */
static void attend_page(const float *q, size_t dim, const float *k, const float *v, size_t valid,
                        float score_scale, bool first, float *maximum, float *denominator,
                        float *out)
{
    float p[KL_KV_PAGE_TOKENS];
    float new_maximum = *maximum;
    for (size_t j = 0; j < valid; j++) {
        float score = 0.0f;
        for (size_t d = 0; d < dim; d++)
            score = fmaf(q[d], k[d * KL_KV_PAGE_TOKENS + j], score);
        p[j] = score * score_scale;
        new_maximum = p[j] > new_maximum ? p[j] : new_maximum;
    }
    for (size_t j = 0; j < KL_KV_PAGE_TOKENS; j++)
        p[j] = j < valid ? exp_spec(p[j] - new_maximum) : 0.0f;
    float correction = first ? 0.0f : exp_spec(*maximum - new_maximum);

    float lanes[8];
    for (size_t i = 0; i < 8; i++)
        lanes[i] = (p[i] + p[i + 8]) + (p[i + 16] + p[i + 24]);
    *denominator = fmaf(*denominator, correction, sum_lanes(lanes));
    *maximum = new_maximum;
    for (size_t d = 0; d < dim; d++) {
        float sum = first ? 0.0f : out[d] * correction;
        for (size_t j = 0; j < valid; j++)
            sum = fmaf(p[j], v[j * dim + d], sum);
        out[d] = sum;
    }
}

static void attend(const float *q, size_t n_heads, size_t dim, const uint16_t *const *pages,
                   size_t k_at, size_t v_at, size_t n_positions, float score_scale, float *out,
                   void *scratch)
{
    float *k = scratch, *v = k + dim * KL_KV_PAGE_TOKENS;
    float maximum[KL_MAX_GROUP_HEADS], denominator[KL_MAX_GROUP_HEADS];
    for (size_t h = 0; h < n_heads; h++) {
        maximum[h] = -INFINITY;
        denominator[h] = 0.0f;
    }
    for (size_t at = 0; at < n_positions; at += KL_KV_PAGE_TOKENS) {
        size_t page = at / KL_KV_PAGE_TOKENS;
        size_t left = n_positions - at;
        size_t valid = left < KL_KV_PAGE_TOKENS ? left : KL_KV_PAGE_TOKENS;
        for (size_t i = 0; i < dim * KL_KV_PAGE_TOKENS; i++)
            k[i] = kl_f16_to_f32(pages[page][k_at + i]);
        for (size_t i = 0; i < dim * valid; i++)
            v[i] = kl_f16_to_f32(pages[page][v_at + i]);
        for (size_t h = 0; h < n_heads; h++)
            attend_page(q + h * dim, dim, k, v, valid, score_scale, at == 0, &maximum[h],
                        &denominator[h], out + h * dim);
    }
    for (size_t h = 0; h < n_heads; h++) {
        float inverse = 1.0f / denominator[h];
        for (size_t d = 0; d < dim; d++)
            out[h * dim + d] *= inverse;
    }
}

/* A block of 8 rows x 32 columns as the integers that meet the activations: the offset is taken
 * off and Q6_K's 8-bit scales of the half blocks are multiplied in. */
struct block_integers {
    int16_t w[KL_LANES][KL_BLOCK];
    float d[KL_LANES];
    float m[KL_LANES]; /* what the sum of the activations is multiplied with */
};

static float load_f16(const uint8_t *p, size_t i)
{
    uint16_t half;
    memcpy(&half, p + 2 * i, sizeof half);
    return kl_f16_to_f32(half);
}

static void unpack_scales(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                          const uint8_t *block, struct block_integers *out)
{
    for (size_t r = 0; r < KL_LANES; r++) {
        out->m[r] = 0.0f;
        if (type == KL_Q4_K || type == KL_Q5_K) {
            out->d[r] = load_f16(header, r) * (float)block[r];
            out->m[r] = -(load_f16(header, 8 + r) * (float)block[8 + r]);
        } else if (type == KL_Q6_K) {
            out->d[r] = load_f16(header, r);
        } else {
            out->d[r] = load_f16(block, r);
            if (l.has_min)
                out->m[r] = load_f16(block, 8 + r);
        }
    }
}

static int unpack_one(enum kl_quant type, struct kl_layout l, const uint8_t *block, size_t r,
                      size_t c)
{
    size_t g = c / 4, place = 4 * r + c % 4;
    if (type == KL_Q8_0)
        return (int8_t)block[l.nibbles + 32 * g + place];
    int q = block[l.nibbles + g / 2 * 32 + place] >> (g % 2 * 4) & 0x0F;
    if (type == KL_Q6_K) {
        q |= (block[l.bits + g / 4 * 32 + place] >> (g % 4 * 2) & 3) << 4;
        return (q - 32) * (int8_t)block[8 * (c / 16) + r];
    }
    if (l.bits != 0)
        q |= (block[l.bits + place] >> g & 1) << 4;
    if (type == KL_Q4_0)
        q -= 8;
    if (type == KL_Q5_0)
        q -= 16;
    return q;
}

static inline __attribute__((always_inline)) void matmul(enum kl_quant type, const uint8_t *w,
                                                         size_t begin, size_t end,
                                                         const struct kl_activations *x, float *y,
                                                         size_t y_stride)
{
    struct kl_layout l = kl_layout(type);
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    for (size_t group = begin; group < end; group++) {
        for (size_t t = 0; t < x->n; t++)
            memset(y + t * y_stride + (group - begin) * KL_LANES, 0, KL_LANES * sizeof *y);
        for (size_t b = 0; b < n_blocks; b++) {
            struct block_integers in;
            const uint8_t *header;
            const uint8_t *block = kl_layout_block(l, w + group * group_bytes, b, &header);
            unpack_scales(type, l, header, block, &in);
            for (size_t r = 0; r < KL_LANES; r++)
                for (size_t c = 0; c < KL_BLOCK; c++)
                    in.w[r][c] = (int16_t)unpack_one(type, l, block, r, c);

            for (size_t t = 0; t < x->n; t++) {
                const int8_t *q = x->q + t * x->k + b * KL_BLOCK;
                const int16_t *sum = x->sum + t * n_blocks * 2 + 2 * b;
                float scale = x->scale[t * n_blocks + b];
                float scaled_sum = scale * (float)(sum[0] + sum[1]);
                float *out = y + t * y_stride + (group - begin) * KL_LANES;
                for (size_t r = 0; r < KL_LANES; r++) {
                    int32_t dot = 0;
                    for (size_t c = 0; c < KL_BLOCK; c++)
                        dot += in.w[r][c] * q[c];
                    out[r] = fmaf((float)dot, in.d[r] * scale, out[r]);
                    if (l.has_min)
                        out[r] = fmaf(in.m[r], scaled_sum, out[r]);
                }
            }
        }
    }
}

static float load_float(enum kl_quant type, const uint8_t *w, size_t i)
{
    float f;
    uint16_t half;
    if (type == KL_F32) {
        memcpy(&f, w + 4 * i, sizeof f);
        return f;
    }
    memcpy(&half, w + 2 * i, sizeof half);
    return type == KL_F16 ? kl_f16_to_f32(half) : kl_bf16_to_f32(half);
}

/* Float weights meet the same int8 activations: the sum of a block in f32, column by column. */
static inline __attribute__((always_inline)) void
matmul_floats(enum kl_quant type, const uint8_t *w, size_t begin, size_t end,
              const struct kl_activations *x, float *y, size_t y_stride)
{
    size_t n_blocks = x->k / KL_BLOCK;
    size_t block_bytes = kl_layout(type).block_bytes;
    for (size_t group = begin; group < end; group++) {
        for (size_t t = 0; t < x->n; t++) {
            float *out = y + t * y_stride + (group - begin) * KL_LANES;
            memset(out, 0, KL_LANES * sizeof *y);
            for (size_t b = 0; b < n_blocks; b++) {
                const uint8_t *block = w + (group * n_blocks + b) * block_bytes;
                const int8_t *q = x->q + t * x->k + b * KL_BLOCK;
                float scale = x->scale[t * n_blocks + b];
                for (size_t r = 0; r < KL_LANES; r++) {
                    float sum = 0.0f;
                    for (size_t c = 0; c < KL_BLOCK; c++)
                        sum = fmaf(load_float(type, block, c * KL_LANES + r), (float)q[c], sum);
                    out[r] = fmaf(sum, scale, out[r]);
                }
            }
        }
    }
}

#define DEFINE_MATMUL(name, type, function)                                                        \
    static void name(const uint8_t *w, size_t begin, size_t end, const struct kl_activations *x,   \
                     float *y, size_t y_stride, void *scratch)                                     \
    {                                                                                              \
        (void)scratch;                                                                             \
        function(type, w, begin, end, x, y, y_stride);                                             \
    }

DEFINE_MATMUL(matmul_q4_0, KL_Q4_0, matmul)
DEFINE_MATMUL(matmul_q4_1, KL_Q4_1, matmul)
DEFINE_MATMUL(matmul_q5_0, KL_Q5_0, matmul)
DEFINE_MATMUL(matmul_q5_1, KL_Q5_1, matmul)
DEFINE_MATMUL(matmul_q8_0, KL_Q8_0, matmul)
DEFINE_MATMUL(matmul_q4_k, KL_Q4_K, matmul)
DEFINE_MATMUL(matmul_q5_k, KL_Q5_K, matmul)
DEFINE_MATMUL(matmul_q6_k, KL_Q6_K, matmul)
DEFINE_MATMUL(matmul_f32, KL_F32, matmul_floats)
DEFINE_MATMUL(matmul_f16, KL_F16, matmul_floats)
DEFINE_MATMUL(matmul_bf16, KL_BF16, matmul_floats)

const struct kl_kernels kl_kernels_scalar = {
    .name = "scalar",
    .quantize = quantize,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .kv_store = kv_store,
    .attend = attend,
    .matmul =
        {
            [KL_F32] = matmul_f32,
            [KL_F16] = matmul_f16,
            [KL_BF16] = matmul_bf16,
            [KL_Q4_0] = matmul_q4_0,
            [KL_Q4_1] = matmul_q4_1,
            [KL_Q5_0] = matmul_q5_0,
            [KL_Q5_1] = matmul_q5_1,
            [KL_Q8_0] = matmul_q8_0,
            [KL_Q4_K] = matmul_q4_k,
            [KL_Q5_K] = matmul_q5_k,
            [KL_Q6_K] = matmul_q6_k,
        },
};
