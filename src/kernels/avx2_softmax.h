/*
 * The softmax of attention in 256-bit registers, page by page, for the files of attention on x86.
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

INLINE __m256 scores_at(const float *p, int vector, size_t valid, const bool whole)
{
    __m256 s = _mm256_loadu_ps(p + 8 * vector);
    return whole ? s : _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), s, mask_of(valid, vector));
}

/* whole: all positions of the page are valid */
INLINE void raise_by(const float *p, size_t valid, const bool whole, float *maximum, float *sums,
                     float *out, size_t dim)
{
    __m256 top = _mm256_set1_ps(*maximum);
    for (int i = 0; i < 4; i++)
        top = _mm256_max_ps(scores_at(p, i, valid, whole), top);
    float new_maximum = max_lanes(top);
    if (*maximum == new_maximum) /* the correction is 2^0, exactly 1 */
        return;
    float correction = _mm256_cvtss_f32(exp2_lanes(_mm256_set1_ps(*maximum - new_maximum)));
    *maximum = new_maximum;
    scale_vector(sums, KL_ATTEND_SUMS, correction);
    scale_vector(out, dim, correction);
}

INLINE void weigh_by(float *p, size_t valid, const bool whole, float maximum, float *sums)
{
    __m256 s[4];
    for (int i = 0; i < 4; i++) {
        s[i] = exp2_lanes(_mm256_sub_ps(_mm256_loadu_ps(p + 8 * i), _mm256_set1_ps(maximum)));
        if (!whole)
            s[i] = _mm256_and_ps(s[i], mask_of(valid, i));
        _mm256_storeu_ps(p + 8 * i, s[i]);
    }
    __m256 sum = _mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3]));
    _mm256_storeu_ps(sums, _mm256_add_ps(_mm256_loadu_ps(sums), sum));
}

/* Raises the maximum of one query to that of the scores of a page, and scales what was summed by
 * then to it. */
INLINE void raise_maximum(const float *p, size_t valid, float *maximum, float *sums, float *out,
                          size_t dim)
{
    if (valid == TOKENS)
        raise_by(p, valid, true, maximum, sums, out, dim);
    else
        raise_by(p, valid, false, maximum, sums, out, dim);
}

/* Turns one query's scores of a page into weights, 0 past the valid ones, and adds them to the
 * sums. */
INLINE void weigh_page(float *p, size_t valid, float maximum, float *sums)
{
    if (valid == TOKENS)
        weigh_by(p, valid, true, maximum, sums);
    else
        weigh_by(p, valid, false, maximum, sums);
}

/* The bias of the keys, rotated to the first position of the page. */
INLINE void rotate_bias(const struct kl_attend_rows *a, size_t page, float *bias)
{
    size_t half = a->dim / 2;
    for (size_t d = 0; d < half; d += 8) {
        __m256 x = _mm256_loadu_ps(a->k_bias + d), y = _mm256_loadu_ps(a->k_bias + half + d);
        __m256 c = _mm256_loadu_ps(a->page_cosine + page * half + d);
        __m256 s = _mm256_loadu_ps(a->page_sine + page * half + d);
        _mm256_storeu_ps(bias + d, _mm256_fmsub_ps(x, c, _mm256_mul_ps(y, s)));
        _mm256_storeu_ps(bias + half + d, _mm256_fmadd_ps(x, s, _mm256_mul_ps(y, c)));
    }
}

INLINE void finish(const struct kl_attend_rows *a, const enum kl_kv_type type, const float *sums,
                   float *out)
{
    __m256 inverse = _mm256_set1_ps(1.0f / sum_lanes(_mm256_loadu_ps(sums)));
    for (size_t d = 0; d < a->dim; d += 8) {
        __m256 x = _mm256_loadu_ps(out + d);
        x = type == KL_KV_INT8 ? _mm256_fmadd_ps(x, inverse, _mm256_loadu_ps(a->v_bias + d))
                               : _mm256_mul_ps(x, inverse);
        _mm256_storeu_ps(out + d, x);
    }
}

#endif
