/*
 * The AVX2 tier (with FMA and F16C: Haswell, Zen and later), and the SSE4.1 tier. Both give the
 * bits of scalar.c.
 */
#include <math.h>

#include "kernels/avx2.h"

/* The largest size of a block's numbers, compared as bits, so that a NaN is the largest. */
INLINE float largest_size(const float *x)
{
    const __m256i size = _mm256_set1_epi32(INT32_MAX);
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + 8 * i));
        largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, size));
    }
    __m128i a =
        _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0x4E));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0xB1));
    return _mm_cvtss_f32(_mm_castsi128_ps(a));
}

/* Quantises one block. top: its largest size. */
INLINE void quantize_block(const float *x, float top, struct kl_int8_block *out)
{
    /* packs works within 128-bit halves; this puts the 8 groups of 4 bytes back in order */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256 inverse = _mm256_set1_ps(top >= KL_SMALLEST_BLOCK ? 127.0f / top : 0.0f);
    __m256i n[4];
    for (int i = 0; i < 4; i++)
        n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    __m256i low = _mm256_packs_epi32(n[0], n[1]), high = _mm256_packs_epi32(n[2], n[3]);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    _mm256_storeu_si256((__m256i *)out->q, bytes);

    /* sad adds up 8 unsigned bytes: 128 more than each q */
    __m256i from_zero = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
    __m256i sums = _mm256_sad_epu8(from_zero, _mm256_setzero_si256());
    __m128i eighths =
        _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    __m128i half = _mm_sub_epi32(_mm_hadd_epi32(eighths, eighths), _mm_set1_epi32(16 * 128));
    __m128i sum = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    __m128 scale = _mm_set1_ps(top / 127.0f);
    __m128 scaled = _mm_mul_ps(scale, _mm_cvtepi32_ps(sum));
    __m128i minus = _mm_sub_epi32(_mm_setzero_si128(), sum);
    __m128i floats = _mm_castps_si128(_mm_unpacklo_ps(scale, scaled));
    __m128i integers = _mm_unpacklo_epi32(minus, _mm_packs_epi32(half, half));
    /* in the order of the struct, in one store: more stores than these would fill the core's queue
     * while their cache lines come from the other cores */
    _mm_storeu_si128((__m128i *)&out->scale, _mm_unpacklo_epi64(floats, integers));
}

/* In two loops: the instructions of a block are a chain too long for the core to overlap it with
 * those of the next ones. */
void TIER(quantize)(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride)
{
    enum { AT_ONCE = 32 };
    float top[AT_ONCE];
    for (size_t first = 0; first < n; first += AT_ONCE) {
        size_t end = n - first < AT_ONCE ? n : first + AT_ONCE;
        for (size_t i = first; i < end; i++)
            top[i - first] = largest_size(x + i * KL_BLOCK);
        for (size_t i = first; i < end; i++)
            quantize_block(x + i * KL_BLOCK, top[i - first], blocks + i * stride);
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
