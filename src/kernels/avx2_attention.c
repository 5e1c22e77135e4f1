/*
 * Attention of the AVX2 tier, and the store into the KV pages.
 */
#include <math.h>

#include "kernels/avx2.h"

void kl_avx2_kv_store(const float *k, const float *v, size_t dim, uint16_t *k_page,
                      uint16_t *v_page, size_t slot)
{
    for (size_t d = 0; d < dim; d += 8) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(v + d), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(v_page + slot * dim + d), half);
        uint16_t column[8];
        half = _mm256_cvtps_ph(_mm256_loadu_ps(k + d), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)column, half);
        for (size_t i = 0; i < 8; i++)
            k_page[(d + i) * KL_KV_PAGE_TOKENS + slot] = column[i];
    }
}

INLINE void widen_page(const uint16_t *from, size_t n, float *to)
{
    for (size_t i = 0; i < n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(from + i));
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
    }
}

/* sum over the page's positions of p[j] * v[j], WIDTH * 8 dims at a time: 8 sums hide the latency
 * of the multiply-add */
INLINE void add_values(const float *p, const float *v, size_t dim, size_t valid, float correction,
                       bool first, float *out, const int width)
{
    __m256 sum[8];
    for (int i = 0; i < width; i++) {
        __m256 old = _mm256_loadu_ps(out + 8 * i);
        sum[i] = first ? _mm256_setzero_ps() : _mm256_mul_ps(old, _mm256_set1_ps(correction));
    }
    for (size_t j = 0; j < valid; j++) {
        __m256 weight = _mm256_broadcast_ss(p + j);
        for (int i = 0; i < width; i++)
            sum[i] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(v + j * dim + 8 * (size_t)i), sum[i]);
    }
    for (int i = 0; i < width; i++)
        _mm256_storeu_ps(out + 8 * i, sum[i]);
}

/* One page for one head; out holds the unnormalised sum so far. */
INLINE void attend_page(const float *q, size_t dim, const float *k, const float *v, size_t valid,
                        float score_scale, bool first, float *maximum, float *denominator,
                        float *out)
{
    __m256 s[4];
    for (int i = 0; i < 4; i++)
        s[i] = _mm256_setzero_ps();
    for (size_t d = 0; d < dim; d++) {
        __m256 factor = _mm256_broadcast_ss(q + d);
        for (int i = 0; i < 4; i++)
            s[i] =
                _mm256_fmadd_ps(factor, _mm256_loadu_ps(k + d * KL_KV_PAGE_TOKENS + 8 * i), s[i]);
    }
    /* positions past the end take no part: -infinity in the maximum, 0 in the sums */
    const __m256 minus_infinity = _mm256_set1_ps(-INFINITY);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 mask[4], top = _mm256_set1_ps(*maximum);
    for (int i = 0; i < 4; i++) {
        __m256i place = _mm256_add_epi32(lane, _mm256_set1_epi32(8 * i));
        mask[i] = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)valid), place));
        s[i] = _mm256_mul_ps(s[i], _mm256_set1_ps(score_scale));
        top = _mm256_max_ps(_mm256_blendv_ps(minus_infinity, s[i], mask[i]), top);
    }
    float new_maximum = max_lanes(top);
    float p[KL_KV_PAGE_TOKENS];
    for (int i = 0; i < 4; i++) {
        s[i] = exp_lanes(_mm256_sub_ps(s[i], _mm256_set1_ps(new_maximum)));
        s[i] = _mm256_and_ps(s[i], mask[i]);
        _mm256_storeu_ps(p + 8 * i, s[i]);
    }
    __m256 change = exp_lanes(_mm256_set1_ps(*maximum - new_maximum));
    float correction = first ? 0.0f : _mm256_cvtss_f32(change);
    float sum = sum_lanes(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
    *denominator = fmaf(*denominator, correction, sum);
    *maximum = new_maximum;

    size_t d = 0;
    for (; d + 64 <= dim; d += 64)
        add_values(p, v + d, dim, valid, correction, first, out + d, 8);
    for (; d < dim; d += 8)
        add_values(p, v + d, dim, valid, correction, first, out + d, 1);
}

void kl_avx2_attend(const float *q, size_t n_heads, size_t dim, const uint16_t *const *pages,
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
        widen_page(pages[page] + k_at, dim * KL_KV_PAGE_TOKENS, k);
        widen_page(pages[page] + v_at, dim * valid, v);
        for (size_t h = 0; h < n_heads; h++)
            attend_page(q + h * dim, dim, k, v, valid, score_scale, at == 0, &maximum[h],
                        &denominator[h], out + h * dim);
    }
    for (size_t h = 0; h < n_heads; h++) {
        __m256 inverse = _mm256_set1_ps(1.0f / denominator[h]);
        for (size_t d = 0; d < dim; d += 8) {
            __m256 v8 = _mm256_loadu_ps(out + h * dim + d);
            _mm256_storeu_ps(out + h * dim + d, _mm256_mul_ps(v8, inverse));
        }
    }
}
