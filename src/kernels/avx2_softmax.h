/*
 * The softmax of attention in 256-bit registers, page by page or of all scores, for the files of
 * attention on x86.
 */
#ifndef KL_KERNELS_AVX2_SOFTMAX_H
#define KL_KERNELS_AVX2_SOFTMAX_H

#include <math.h>

#include "kernels/avx2.h"

enum { TOKENS = KL_KV_PAGE_TOKENS };

INLINE void clear_vector(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_setzero_ps());
}

INLINE void scale_vector(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor)));
}

INLINE __m256 mask_of(size_t valid, int vector)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i place = _mm256_add_epi32(lane, _mm256_set1_epi32(8 * vector));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)valid), place));
}

/* One query's scores of a page become weights. Positions past the end take no part: -infinity in
 * the maximum, 0 in the sums. whole: there are none. */
INLINE void weigh_scores(const struct kl_attend_rows *a, float *p, size_t valid, const bool whole,
                         bool first, float *maximum, float *denominator, float *out)
{
    const __m256 minus_infinity = _mm256_set1_ps(-INFINITY);
    __m256 s[4], top = _mm256_set1_ps(*maximum);
    for (int i = 0; i < 4; i++) {
        s[i] = _mm256_mul_ps(_mm256_loadu_ps(p + 8 * i), _mm256_set1_ps(a->score_scale));
        if (!whole)
            s[i] = _mm256_blendv_ps(minus_infinity, s[i], mask_of(valid, i));
        top = _mm256_max_ps(s[i], top);
    }
    float new_maximum = max_lanes(top);
    for (int i = 0; i < 4; i++) {
        s[i] = exp_lanes(_mm256_sub_ps(s[i], _mm256_set1_ps(new_maximum)));
        if (!whole)
            s[i] = _mm256_and_ps(s[i], mask_of(valid, i));
        _mm256_storeu_ps(p + 8 * i, s[i]);
    }
    float sum = sum_lanes(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
    if (*maximum == new_maximum) { /* the correction is exp(0), exactly 1 */
        *denominator += sum;
        return;
    }
    __m256 change = exp_lanes(_mm256_set1_ps(*maximum - new_maximum));
    float correction = first ? 0.0f : _mm256_cvtss_f32(change);
    *denominator = fmaf(*denominator, correction, sum);
    *maximum = new_maximum;
    scale_vector(out, a->dim, correction);
}

INLINE void weigh_page(const struct kl_attend_rows *a, float *p, size_t valid, bool first,
                       float *maximum, float *denominator, float *out)
{
    if (valid == TOKENS)
        weigh_scores(a, p, valid, true, first, maximum, denominator, out);
    else
        weigh_scores(a, p, valid, false, first, maximum, denominator, out);
}

/* All scores of a query become weights; the sum of them. */
INLINE float weigh_all(const struct kl_attend_rows *a, float *s, size_t n)
{
    const __m256 minus_infinity = _mm256_set1_ps(-INFINITY);
    __m256 top = minus_infinity, sum = _mm256_setzero_ps();
    scale_vector(s, (n + 7) & ~(size_t)7, a->score_scale);
    for (size_t j = 0; j < n; j += 8) {
        __m256 x = _mm256_loadu_ps(s + j);
        top = _mm256_max_ps(_mm256_blendv_ps(minus_infinity, x, mask_of(n - j, 0)), top);
    }
    __m256 maximum = _mm256_set1_ps(max_lanes(top));
    for (size_t j = 0; j < n; j += 8) {
        __m256 x = exp_lanes(_mm256_sub_ps(_mm256_loadu_ps(s + j), maximum));
        x = _mm256_and_ps(x, mask_of(n - j, 0));
        _mm256_storeu_ps(s + j, x);
        sum = _mm256_add_ps(sum, x);
    }
    return sum_lanes(sum);
}

INLINE void finish(const struct kl_attend_rows *a, const enum kl_kv_type type, float denominator,
                   float *out)
{
    __m256 inverse = _mm256_set1_ps(1.0f / denominator);
    for (size_t d = 0; d < a->dim; d += 8) {
        __m256 x = _mm256_loadu_ps(out + d);
        x = type == KL_KV_INT8 ? _mm256_fmadd_ps(x, inverse, _mm256_loadu_ps(a->v_bias + d))
                               : _mm256_mul_ps(x, inverse);
        _mm256_storeu_ps(out + d, x);
    }
}

#endif
