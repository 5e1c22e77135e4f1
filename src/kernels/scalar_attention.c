/*
 * Attention of the scalar tier, and the store into the KV pages.
 */
#include <math.h>

#include "kernels/scalar.h"

void kl_scalar_kv_store(const float *k, const float *v, size_t dim, uint16_t *k_page,
                        uint16_t *v_page, size_t slot)
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

void kl_scalar_attend(const float *q, size_t n_heads, size_t dim, const uint16_t *const *pages,
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
