/*
 * Attention of the scalar tier, and the store into the KV pages.
 */
#include <math.h>

#include "kernels/scalar.h"

enum { TOKENS = KL_KV_PAGE_TOKENS };

/* ---- storing -----------------------------------------------------------------------------------
 */

void kl_scalar_kv_store_f16(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot)
{
    uint16_t *keys = (uint16_t *)(void *)tile, *values = keys + dim * TOKENS;
    for (size_t d = 0; d < dim; d++) {
        keys[d * TOKENS + slot] = kl_f32_to_f16(k[d]);
        values[slot * dim + d] = kl_f32_to_f16(v[d]);
    }
}

/* One block of n numbers; q[i * stride]. */
static uint16_t store_block(const float *x, size_t n, int8_t *q, size_t stride)
{
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    uint16_t half = kl_f32_to_f16(largest / 127.0f);
    float scale = kl_f16_to_f32(half);
    float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (size_t i = 0; i < n; i++) {
        /* over 127 where f16 has few digits left for the scale */
        float y = x[i] * inverse;
        y = y < 127.0f ? y : 127.0f;
        y = y > -127.0f ? y : -127.0f;
        q[i * stride] = (int8_t)lrintf(y);
    }
    return half;
}

void kl_scalar_kv_store_int8(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot)
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

/* ---- a tile as floats --------------------------------------------------------------------------
 */

/* k[d, token] with the bias, rotated to each token's position. The angle of a position is that of
 * its page's first one plus that of its slot, so the bias is rotated twice. */
static void read_keys(const struct kl_attend_rows *a, enum kl_kv_type type, size_t page, float *k)
{
    size_t dim = a->dim, half = dim / 2;
    const uint8_t *tile = a->pages[page] + a->at;
    if (type == KL_KV_F16) {
        const uint16_t *keys = (const uint16_t *)(const void *)tile;
        for (size_t i = 0; i < dim * TOKENS; i++)
            k[i] = kl_f16_to_f32(keys[i]);
        return;
    }
    const int8_t *keys = (const int8_t *)tile;
    const uint16_t *scales = (const uint16_t *)(const void *)(tile + dim * TOKENS);
    for (size_t d = 0; d < half; d++) {
        float c = a->page_cosine[page * half + d], s = a->page_sine[page * half + d];
        float b1 = fmaf(a->k_bias[d], c, -(a->k_bias[d + half] * s));
        float b2 = fmaf(a->k_bias[d], s, a->k_bias[d + half] * c);
        for (size_t j = 0; j < TOKENS; j++) {
            size_t i1 = d * TOKENS + j, i2 = (d + half) * TOKENS + j;
            float x1 = (float)keys[i1] * kl_f16_to_f32(scales[d / KL_BLOCK * TOKENS + j]);
            float x2 = (float)keys[i2] * kl_f16_to_f32(scales[(d + half) / KL_BLOCK * TOKENS + j]);
            float cosine = a->offset_cosine[i1], sine = a->offset_sine[i1];
            k[i1] = fmaf(-b2, sine, fmaf(b1, cosine, x1));
            k[i2] = fmaf(b2, cosine, fmaf(b1, sine, x2));
        }
    }
}

/* v[token, d], without the bias */
static void read_values(const struct kl_attend_rows *a, enum kl_kv_type type, size_t page,
                        size_t n_tokens, float *v)
{
    size_t dim = a->dim, n_blocks = kl_kv_blocks(dim);
    const uint8_t *half = a->pages[page] + a->at + kl_kv_half_bytes(type, dim);
    const uint16_t *values = (const uint16_t *)(const void *)half;
    const uint16_t *scales = (const uint16_t *)(const void *)(half + dim * TOKENS);
    for (size_t j = 0; j < n_tokens; j++)
        for (size_t d = 0; d < dim; d++)
            v[j * dim + d] = type == KL_KV_F16
                                 ? kl_f16_to_f32(values[j * dim + d])
                                 : (float)((const int8_t *)half)[j * dim + d] *
                                       kl_f16_to_f32(scales[j * n_blocks + d / KL_BLOCK]);
}

/* ---- one query ---------------------------------------------------------------------------------
 */

static void scores_of_page(const struct kl_attend_rows *a, const float *q, const float *k,
                           size_t valid, float *s)
{
    for (size_t j = 0; j < valid; j++) {
        float score = 0.0f;
        for (size_t d = 0; d < a->dim; d++)
            score = fmaf(q[d], k[d * TOKENS + j], score);
        s[j] = score;
    }
}

static void add_values(const float *p, const float *v, size_t dim, size_t valid, float *out)
{
    for (size_t d = 0; d < dim; d++)
        for (size_t j = 0; j < valid; j++)
            out[d] = fmaf(p[j], v[j * dim + d], out[d]);
}

static void finish(const struct kl_attend_rows *a, enum kl_kv_type type, const float *sums,
                   float *out)
{
    float inverse = 1.0f / sum_lanes(sums);
    for (size_t d = 0; d < a->dim; d++)
        out[d] = type == KL_KV_INT8 ? fmaf(out[d], inverse, a->v_bias[d]) : out[d] * inverse;
}

/* The weights of a page, for a maximum of all scores so far; adds them to the sums. */
static void weigh_page(float *p, size_t valid, float maximum, float *sums)
{
    for (size_t j = 0; j < TOKENS; j++)
        p[j] = j < valid ? exp2_spec(p[j] - maximum) : 0.0f;
    for (size_t i = 0; i < KL_ATTEND_SUMS; i++)
        sums[i] += (p[i] + p[i + 8]) + (p[i + 16] + p[i + 24]);
}

static float largest_of(const float *s, size_t n, float maximum)
{
    for (size_t j = 0; j < n; j++)
        maximum = s[j] > maximum ? s[j] : maximum;
    return maximum;
}

static void scale(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* The running maximum goes up: what was summed so far shrinks by the correction. */
static void attend_online(const struct kl_attend_rows *a, enum kl_kv_type type, const float *q,
                          size_t n_positions, float *out)
{
    float *tile = a->scratch, maximum = -INFINITY, sums[KL_ATTEND_SUMS] = {0};
    for (size_t at = 0; at < n_positions; at += TOKENS) {
        size_t valid = n_positions - at < TOKENS ? n_positions - at : TOKENS;
        float p[TOKENS];
        read_keys(a, type, at / TOKENS, tile);
        scores_of_page(a, q, tile, valid, p);
        float new_maximum = largest_of(p, valid, maximum);
        float correction = exp2_spec(maximum - new_maximum);
        maximum = new_maximum;
        scale(sums, KL_ATTEND_SUMS, correction);
        scale(out, a->dim, correction);
        weigh_page(p, valid, maximum, sums);
        read_values(a, type, at / TOKENS, valid, tile);
        add_values(p, tile, a->dim, valid, out);
    }
    finish(a, type, sums, out);
}

static void attend_plainly(const struct kl_attend_rows *a, enum kl_kv_type type, const float *q,
                           size_t n_positions, float *s, float *out)
{
    float *tile = a->scratch, sums[KL_ATTEND_SUMS] = {0};
    for (size_t at = 0; at < n_positions; at += TOKENS) {
        size_t valid = n_positions - at < TOKENS ? n_positions - at : TOKENS;
        read_keys(a, type, at / TOKENS, tile);
        scores_of_page(a, q, tile, valid, s + at);
    }
    float maximum = largest_of(s, n_positions, -INFINITY);
    for (size_t at = 0; at < n_positions; at += TOKENS) {
        size_t valid = n_positions - at < TOKENS ? n_positions - at : TOKENS;
        weigh_page(s + at, valid, maximum, sums);
        read_values(a, type, at / TOKENS, valid, tile);
        add_values(s + at, tile, a->dim, valid, out);
    }
    finish(a, type, sums, out);
}

static void attend(const struct kl_attend_rows *a, enum kl_kv_type type)
{
    for (size_t x = 0; x < a->n_rows * a->n_heads; x++) {
        size_t n_positions = a->n_positions + x / a->n_heads;
        for (size_t d = 0; d < a->dim; d++)
            a->out[x * a->dim + d] = 0.0f;
        if (a->scores == NULL)
            attend_online(a, type, a->q + x * a->dim, n_positions, a->out + x * a->dim);
        else
            attend_plainly(a, type, a->q + x * a->dim, n_positions, a->scores + x * a->score_stride,
                           a->out + x * a->dim);
    }
}

void kl_scalar_attend_f16(const struct kl_attend_rows *a)
{
    attend(a, KL_KV_F16);
}

void kl_scalar_attend_int8(const struct kl_attend_rows *a)
{
    attend(a, KL_KV_INT8);
}
