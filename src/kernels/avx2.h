/*
 * The AVX2 tier's own header: what its files share, and what its table in avx2.c is made of.
 */
#ifndef KL_KERNELS_AVX2_H
#define KL_KERNELS_AVX2_H

#include <immintrin.h>

#include "kernels/matmul_tiles.h"
#include "kernels/tiers.h"

INLINE float sum_lanes(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

INLINE float max_lanes(__m256 v)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

/* As tiers.h says. */
INLINE __m256 exp_lanes(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(KL_EXP_MAGIC), one = _mm256_set1_ps(1.0f);
    x = _mm256_max_ps(x, _mm256_set1_ps(KL_EXP_LOW));
    x = _mm256_min_ps(x, _mm256_set1_ps(KL_EXP_HIGH));
    __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(KL_EXP_LOG2E), magic);
    __m256 n = _mm256_sub_ps(t, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(KL_EXP_LN2_HI), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(KL_EXP_LN2_LO), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(KL_EXP_C6), r, _mm256_set1_ps(KL_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KL_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KL_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KL_EXP_C2));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    __m256i bits = _mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23)));
}

kl_matmul_fn kl_avx2_matmul_f32;
kl_matmul_fn kl_avx2_matmul_f16;
kl_matmul_fn kl_avx2_matmul_bf16;
kl_matmul_fn kl_avx2_matmul_q4_0;
kl_matmul_fn kl_avx2_matmul_q4_1;
kl_matmul_fn kl_avx2_matmul_q5_0;
kl_matmul_fn kl_avx2_matmul_q5_1;
kl_matmul_fn kl_avx2_matmul_q8_0;
kl_matmul_fn kl_avx2_matmul_q8_high;
kl_matmul_halves_fn kl_avx2_matmul_halves;
kl_matmul_fn kl_avx2_matmul_q4_k;
kl_matmul_fn kl_avx2_matmul_q5_k;
kl_matmul_fn kl_avx2_matmul_q6_k;

void kl_avx2_quantize(const float *x, size_t k, int8_t *q, float *scale, int16_t *sum);
void kl_avx2_rmsnorm(const float *x, const float *w, size_t n, float eps, float *y);
void kl_avx2_rope(float *x, const float *cosine, const float *sine, size_t dim);
void kl_avx2_swiglu(const float *gate, const float *up, size_t n, float *out);

kl_kv_store_fn kl_avx2_kv_store_f16, kl_avx2_kv_store_int8;
kl_attend_fn kl_avx2_attend_f16, kl_avx2_attend_int8;

#endif
