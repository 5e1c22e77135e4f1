/*
 * Attention of the NEON tiers, and the store into the KV pages.
 *
 * As in avx2_attention.c, scores and values are one product of two small matrices in f32: c[x, i]
 * += sum over t of a[x, t] * b[t, i], where b is a page, widened once for all queries of all rows.
 * A tile is 4 queries x 16 numbers: 16 sums hide the latency of the multiply-add (4 cycles, 2 a
 * cycle); 4 steps at a time, 4 vectors of a are multiplied by lane, and with 4 vectors of b there
 * are 20 loads for 64 multiply-adds. Pages are not prefetched: that was measured on x86 only.
 */
#include <math.h>

#include "kernels/neon.h"

enum { TOKENS = KL_KV_PAGE_TOKENS, TILE_QUERIES = 4, TILE_WIDTH = 16, PREFETCHES = 0 };

/* ---- storing --------------------------------------------------------------------------------- */

void kl_neon_kv_store_f16(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot)
{
    uint16_t *keys = (uint16_t *)(void *)tile, *values = keys + dim * TOKENS;
    for (size_t d = 0; d < dim; d += 4) {
        uint16x4_t half = vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(v + d)));
        vst1_u16(values + slot * dim + d, half);
        half = vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(k + d)));
        uint16_t *column = keys + d * TOKENS + slot;
        vst1_lane_u16(column, half, 0);
        vst1_lane_u16(column + TOKENS, half, 1);
        vst1_lane_u16(column + 2 * TOKENS, half, 2);
        vst1_lane_u16(column + 3 * TOKENS, half, 3);
    }
}

/* One block of n numbers, n % 4 == 0. */
INLINE uint16_t store_block(const float *x, size_t n, int8_t *q, size_t stride)
{
    float32x4_t largest = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < n; i += 4)
        largest = vmaxnmq_f32(largest, vabsq_f32(vld1q_f32(x + i)));
    uint16_t half = kl_f32_to_f16(vmaxnmvq_f32(largest) / 127.0f);
    float scale = kl_f16_to_f32(half);
    float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t y = vmulq_n_f32(vld1q_f32(x + i), inverse);
        y = vmaxnmq_f32(vminnmq_f32(y, vdupq_n_f32(127.0f)), vdupq_n_f32(-127.0f));
        int32_t whole[4];
        vst1q_s32(whole, vcvtnq_s32_f32(y));
        for (size_t j = 0; j < 4; j++)
            q[(i + j) * stride] = (int8_t)whole[j];
    }
    return half;
}

void kl_neon_kv_store_int8(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot)
{
    size_t n_blocks = kl_kv_blocks(dim);
    uint8_t *half = tile + kl_kv_half_bytes(KL_KV_INT8, dim);
    uint16_t *k_scales = (uint16_t *)(void *)(tile + dim * TOKENS);
    uint16_t *v_scales = (uint16_t *)(void *)(half + dim * TOKENS);
    for (size_t b = 0, d = 0; b < n_blocks; b++, d += KL_BLOCK) {
        size_t n = dim - d < KL_BLOCK ? dim - d : KL_BLOCK;
        k_scales[b * TOKENS + slot] =
            store_block(k + d, n, (int8_t *)tile + d * TOKENS + slot, TOKENS);
        v_scales[slot * n_blocks + b] = store_block(v + d, n, (int8_t *)half + slot * dim + d, 1);
    }
}

/* ---- a tile as floats ------------------------------------------------------------------------ */

INLINE float32x4x2_t load_8_f16(const uint16_t *p)
{
    return (float32x4x2_t){{load_f16((const uint8_t *)(const void *)p),
                            load_f16((const uint8_t *)(const void *)(p + 4))}};
}

INLINE float32x4x2_t load_8_int8(const int8_t *p)
{
    int16x8_t v = vmovl_s8(vld1_s8(p));
    return (float32x4x2_t){
        {vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(v)))}};
}

INLINE void widen(const uint16_t *from, size_t n, float *to)
{
    for (size_t i = 0; i < n; i += 8) {
        float32x4x2_t v = load_8_f16(from + i);
        vst1q_f32(to + i, v.val[0]);
        vst1q_f32(to + i + 4, v.val[1]);
    }
}

/* The bias of the keys, rotated to the first position of the page. */
INLINE void rotate_bias(const struct kl_attend_rows *a, size_t page, float *bias)
{
    size_t half = a->dim / 2;
    for (size_t d = 0; d < half; d += 4) {
        float32x4_t x = vld1q_f32(a->k_bias + d), y = vld1q_f32(a->k_bias + half + d);
        float32x4_t c = vld1q_f32(a->page_cosine + page * half + d);
        float32x4_t s = vld1q_f32(a->page_sine + page * half + d);
        vst1q_f32(bias + d, vfmaq_f32(vnegq_f32(vmulq_f32(y, s)), x, c));
        vst1q_f32(bias + half + d, vfmaq_f32(vmulq_f32(y, c), x, s));
    }
}

/* k[d, token] with the bias, rotated to each token's position. Scales are the same for 8 d. */
INLINE void read_keys_int8(const struct kl_attend_rows *a, size_t page, float *k)
{
    size_t half = a->dim / 2;
    const int8_t *keys = (const int8_t *)(a->pages[page] + a->at);
    const uint16_t *scales = (const uint16_t *)(const void *)(keys + a->dim * TOKENS);
    float bias[KL_MAX_HEAD_DIM];
    rotate_bias(a, page, bias);
    for (size_t at = 0; at < half; at += 8) {
        for (size_t j = 0; j < TOKENS; j += 8) {
            float32x4x2_t scale1 = load_8_f16(scales + at / KL_BLOCK * TOKENS + j);
            float32x4x2_t scale2 = load_8_f16(scales + (at + half) / KL_BLOCK * TOKENS + j);
            for (size_t d = at; d < at + 8; d++) {
                size_t i1 = d * TOKENS + j, i2 = (d + half) * TOKENS + j;
                float32x4x2_t x1 = load_8_int8(keys + i1), x2 = load_8_int8(keys + i2);
                for (size_t h = 0; h < 2; h++) {
                    float32x4_t cosine = vld1q_f32(a->offset_cosine + i1 + 4 * h);
                    float32x4_t sine = vld1q_f32(a->offset_sine + i1 + 4 * h);
                    float32x4_t k1 = vmulq_f32(x1.val[h], scale1.val[h]);
                    float32x4_t k2 = vmulq_f32(x2.val[h], scale2.val[h]);
                    k1 = vfmaq_n_f32(k1, cosine, bias[d]);
                    k2 = vfmaq_n_f32(k2, sine, bias[d]);
                    vst1q_f32(k + i1 + 4 * h, vfmsq_n_f32(k1, sine, bias[half + d]));
                    vst1q_f32(k + i2 + 4 * h, vfmaq_n_f32(k2, cosine, bias[half + d]));
                }
            }
        }
    }
}

INLINE void read_keys(const struct kl_attend_rows *a, const enum kl_kv_type type, size_t page,
                      float *k)
{
    if (type == KL_KV_INT8)
        read_keys_int8(a, page, k);
    else
        widen((const uint16_t *)(const void *)(a->pages[page] + a->at), a->dim * TOKENS, k);
}

/* v[token, d], without the bias */
INLINE void read_values(const struct kl_attend_rows *a, const enum kl_kv_type type, size_t page,
                        size_t n_tokens, float *v)
{
    size_t dim = a->dim, n_blocks = kl_kv_blocks(dim);
    const uint8_t *half = a->pages[page] + a->at + kl_kv_half_bytes(type, dim);
    if (type == KL_KV_F16) {
        widen((const uint16_t *)(const void *)half, dim * n_tokens, v);
        return;
    }
    const uint16_t *scales = (const uint16_t *)(const void *)(half + dim * TOKENS);
    for (size_t j = 0; j < n_tokens; j++) {
        for (size_t b = 0; b < n_blocks; b++) {
            float scale = kl_f16_to_f32(scales[j * n_blocks + b]);
            for (size_t d = b * KL_BLOCK; d < dim && d < (b + 1) * KL_BLOCK; d += 8) {
                float32x4x2_t x = load_8_int8((const int8_t *)half + j * dim + d);
                vst1q_f32(v + j * dim + d, vmulq_n_f32(x.val[0], scale));
                vst1q_f32(v + j * dim + d + 4, vmulq_n_f32(x.val[1], scale));
            }
        }
    }
}

/* ---- products -------------------------------------------------------------------------------- */

INLINE void clear_vector(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        vst1q_f32(x + i, vdupq_n_f32(0.0f));
}

/* One step of t for n_x queries, whose factors are a[x]. */
INLINE void product_step(const float *b, const float *a, const int n_x,
                         float32x4_t sum[TILE_QUERIES][4])
{
    for (int i = 0; i < 4; i++) {
        float32x4_t from = vld1q_f32(b + 4 * i);
        for (int x = 0; x < n_x; x++)
            sum[x][i] = vfmaq_n_f32(sum[x][i], from, a[x]);
    }
}

/* fresh: c is written and not added to */
INLINE void product_tile(const float *a, size_t a_stride, const float *b, size_t b_stride,
                         size_t n_t, float *c, size_t c_stride, const int n_x, const bool fresh)
{
    float32x4_t sum[TILE_QUERIES][4];
    size_t t = 0;
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < 4; i++)
            sum[x][i] = fresh ? vdupq_n_f32(0.0f) : vld1q_f32(c + (size_t)x * c_stride + 4 * i);
    for (; t + 4 <= n_t; t += 4) {
        float32x4_t factors[TILE_QUERIES];
        for (int x = 0; x < n_x; x++)
            factors[x] = vld1q_f32(a + (size_t)x * a_stride + t);
#pragma GCC unroll 4
        for (size_t step = 0; step < 4; step++) {
            float factor[TILE_QUERIES];
            for (int x = 0; x < n_x; x++)
                factor[x] = factors[x][step];
            product_step(b + (t + step) * b_stride, factor, n_x, sum);
        }
    }
    for (; t < n_t; t++) {
        float factor[TILE_QUERIES];
        for (int x = 0; x < n_x; x++)
            factor[x] = a[(size_t)x * a_stride + t];
        product_step(b + t * b_stride, factor, n_x, sum);
    }
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < 4; i++)
            vst1q_f32(c + (size_t)x * c_stride + 4 * i, sum[x][i]);
}

/* c[x, i] += sum over t of a[x, t] * b[t, i] for n <= TILE_QUERIES queries; b: [n_t, width], width
 * % TILE_WIDTH == 0 */
INLINE void product_tiles(const float *a, size_t a_stride, size_t n, const float *b, size_t width,
                          size_t n_t, float *c, size_t c_stride, const bool fresh)
{
    for (size_t i = 0; i < width; i += TILE_WIDTH, b += TILE_WIDTH, c += TILE_WIDTH) {
        if (n == 4)
            product_tile(a, a_stride, b, width, n_t, c, c_stride, 4, fresh);
        else if (n == 3)
            product_tile(a, a_stride, b, width, n_t, c, c_stride, 3, fresh);
        else if (n == 2)
            product_tile(a, a_stride, b, width, n_t, c, c_stride, 2, fresh);
        else
            product_tile(a, a_stride, b, width, n_t, c, c_stride, 1, fresh);
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

INLINE void scale_vector(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i += 4)
        vst1q_f32(x + i, vmulq_n_f32(vld1q_f32(x + i), factor));
}

/* Which of the places at .. at + 3 are below `valid`. */
INLINE uint32x4_t mask_of(size_t valid, size_t at)
{
    static const uint32_t lanes[4] = {0, 1, 2, 3};
    uint32x4_t place = vaddq_u32(vld1q_u32(lanes), vdupq_n_u32((uint32_t)at));
    return vcltq_u32(place, vdupq_n_u32((uint32_t)valid));
}

INLINE float32x4_t zero_unless(uint32x4_t mask, float32x4_t x)
{
    return vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(x)));
}

/* Raises the maximum of one query to that of the scores of a page, and scales what was summed by
 * then to it. */
INLINE void raise_maximum(const float *p, size_t valid, float *maximum, float *sums, float *out,
                          size_t dim)
{
    float32x4_t top = vdupq_n_f32(*maximum);
    for (size_t i = 0; i < TOKENS; i += 4)
        top = vmaxnmq_f32(vbslq_f32(mask_of(valid, i), vld1q_f32(p + i), vdupq_n_f32(-INFINITY)),
                          top);
    float new_maximum = vmaxnmvq_f32(top);
    if (*maximum == new_maximum) /* the correction is 2^0, exactly 1 */
        return;
    float correction = vgetq_lane_f32(exp2_lanes(vdupq_n_f32(*maximum - new_maximum)), 0);
    *maximum = new_maximum;
    scale_vector(sums, KL_ATTEND_SUMS, correction);
    scale_vector(out, dim, correction);
}

/* Turns one query's scores of a page into weights, 0 past the valid ones, and adds them to the
 * sums. */
INLINE void weigh_page(float *p, size_t valid, float maximum, float *sums)
{
    float32x4_t s[8];
    for (size_t i = 0; i < 8; i++) {
        s[i] = exp2_lanes(vsubq_f32(vld1q_f32(p + 4 * i), vdupq_n_f32(maximum)));
        s[i] = zero_unless(mask_of(valid, 4 * i), s[i]);
        vst1q_f32(p + 4 * i, s[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        float32x4_t sum = vaddq_f32(vaddq_f32(s[i], s[i + 2]), vaddq_f32(s[i + 4], s[i + 6]));
        vst1q_f32(sums + 4 * i, vaddq_f32(vld1q_f32(sums + 4 * i), sum));
    }
}

INLINE void finish(const struct kl_attend_rows *a, const enum kl_kv_type type, const float *sums,
                   float *out)
{
    float inverse = 1.0f / sum_lanes((float32x4x2_t){{vld1q_f32(sums), vld1q_f32(sums + 4)}});
    for (size_t d = 0; d < a->dim; d += 4) {
        float32x4_t x = vld1q_f32(out + d);
        x = type == KL_KV_INT8 ? vfmaq_n_f32(vld1q_f32(a->v_bias + d), x, inverse)
                               : vmulq_n_f32(x, inverse);
        vst1q_f32(out + d, x);
    }
}

#include "kernels/attention_walks.h"

void kl_neon_attend_f16(const struct kl_attend_rows *a)
{
    attend(a, KL_KV_F16);
}

void kl_neon_attend_int8(const struct kl_attend_rows *a)
{
    attend(a, KL_KV_INT8);
}
