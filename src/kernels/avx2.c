/*
 * The AVX2 tier (with FMA and F16C: Haswell, Zen and later), and the SSE4.1 tier. Both give the
 * bits of scalar.c.
 */
#include <math.h>

#include "kernels/avx2.h"

/* The largest of 8 sizes of numbers, compared as bits, so that a NaN is the largest. */
INLINE float max_size(__m256i v)
{
    __m128i a = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0x4E));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0xB1));
    return _mm_cvtss_f32(_mm_castsi128_ps(a));
}

void TIER(quantize)(const float *x, size_t k, struct kl_int8_block *blocks)
{
    const __m256i size = _mm256_set1_epi32(INT32_MAX);
    /* packs works within 128-bit halves; this puts the 8 groups of 4 bytes back in order */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (struct kl_int8_block *out = blocks; out < blocks + k / KL_BLOCK; out++, x += KL_BLOCK) {
        __m256 v[4];
        __m256i largest = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps(x + 8 * i);
            largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(v[i]), size));
        }
        float top = max_size(largest);
        __m256 inverse = _mm256_set1_ps(top >= KL_SMALLEST_BLOCK ? 127.0f / top : 0.0f);
        __m256i n[4];
        for (int i = 0; i < 4; i++)
            n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
        __m256i low = _mm256_packs_epi32(n[0], n[1]), high = _mm256_packs_epi32(n[2], n[3]);
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)out->q, bytes);

        __m256i ones = _mm256_set1_epi8(1);
        __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, bytes), _mm256_set1_epi16(1));
        __m128i first = _mm256_castsi256_si128(pairs), last = _mm256_extracti128_si256(pairs, 1);
        __m128i s = _mm_hadd_epi32(first, last);
        s = _mm_hadd_epi32(s, s);
        kl_set_factors(out, top / 127.0f, _mm_cvtsi128_si32(s), _mm_extract_epi32(s, 1));
    }
}

void TIER(rmsnorm)(const float *x, const float *w, size_t n, float eps, float *y)
{
    __m256 squares = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        squares = _mm256_fmadd_ps(v, v, squares);
    }
    __m256 factor = _mm256_set1_ps(1.0f / sqrtf(sum_lanes(squares) / (float)n + eps));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
}

void TIER(rope)(float *x, const float *cosine, const float *sine, size_t dim)
{
    size_t half = dim / 2;
    for (size_t i = 0; i < half; i += 8) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        __m256 c = _mm256_loadu_ps(cosine + i), s = _mm256_loadu_ps(sine + i);
        _mm256_storeu_ps(x + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(x + half + i, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

void TIER(swiglu)(const float *gate, const float *up, size_t n, float *out)
{
    const __m256 one = _mm256_set1_ps(1.0f), high = _mm256_set1_ps(KL_EXP2_HIGH);
    for (size_t i = 0; i < n; i += 8) {
        __m256 g = _mm256_loadu_ps(gate + i);
        __m256 x = _mm256_min_ps(_mm256_mul_ps(g, _mm256_set1_ps(-KL_LOG2E)), high);
        __m256 e = _mm256_add_ps(one, exp2_lanes(x));
        __m256 v = _mm256_mul_ps(_mm256_div_ps(g, e), _mm256_loadu_ps(up + i));
        _mm256_storeu_ps(out + i, v);
    }
}
