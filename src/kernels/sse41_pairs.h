/*
 * 256 bits as a pair of 128: the intrinsics of AVX2, FMA and F16C that the files avx2*.c use, for
 * CPUs that have SSE4.1 only (Nehalem, and the Celerons J4125 and N5105). The tier for them is the
 * same source, compiled a second time with this header in the place of <immintrin.h>.
 */
#ifndef KL_KERNELS_SSE41_PAIRS_H
#define KL_KERNELS_SSE41_PAIRS_H

#include <math.h>
#include <smmintrin.h>

#include "format/quant.h"
#include "kernels/matmul_tiles.h"

typedef struct {
    __m128 low, high;
} __m256;

typedef struct {
    __m128i low, high;
} __m256i;

/* ---- lane by lane ------------------------------------------------------------------------------
 */

#define OF_ONE(vector, name)                                                                       \
    INLINE vector _mm256_##name(vector a)                                                          \
    {                                                                                              \
        return (vector){_mm_##name(a.low), _mm_##name(a.high)};                                    \
    }
#define OF_TWO(vector, name, half)                                                                 \
    INLINE vector _mm256_##name(vector a, vector b)                                                \
    {                                                                                              \
        return (vector){half(a.low, b.low), half(a.high, b.high)};                                 \
    }
#define OF_NUMBER(vector, number, name)                                                            \
    INLINE vector _mm256_##name(number n)                                                          \
    {                                                                                              \
        return (vector){_mm_##name(n), _mm_##name(n)};                                             \
    }
#define SHIFT(name)                                                                                \
    INLINE __m256i _mm256_##name(__m256i a, int n)                                                 \
    {                                                                                              \
        return (__m256i){_mm_##name(a.low, n), _mm_##name(a.high, n)};                             \
    }

OF_TWO(__m256, add_ps, _mm_add_ps)
OF_TWO(__m256, sub_ps, _mm_sub_ps)
OF_TWO(__m256, mul_ps, _mm_mul_ps)
OF_TWO(__m256, div_ps, _mm_div_ps)
OF_TWO(__m256, max_ps, _mm_max_ps)
OF_TWO(__m256, min_ps, _mm_min_ps)
OF_TWO(__m256, and_ps, _mm_and_ps)
OF_TWO(__m256, andnot_ps, _mm_andnot_ps)
OF_TWO(__m256, xor_ps, _mm_xor_ps)

OF_ONE(__m256i, abs_epi8)
OF_TWO(__m256i, sign_epi8, _mm_sign_epi8)
OF_TWO(__m256i, shuffle_epi8, _mm_shuffle_epi8)
OF_TWO(__m256i, maddubs_epi16, _mm_maddubs_epi16)
OF_TWO(__m256i, madd_epi16, _mm_madd_epi16)
OF_TWO(__m256i, sad_epu8, _mm_sad_epu8)
OF_TWO(__m256i, add_epi16, _mm_add_epi16)
OF_TWO(__m256i, add_epi32, _mm_add_epi32)
OF_TWO(__m256i, sub_epi32, _mm_sub_epi32)
OF_TWO(__m256i, cmpgt_epi32, _mm_cmpgt_epi32)
OF_TWO(__m256i, max_epi32, _mm_max_epi32)
OF_TWO(__m256i, packs_epi16, _mm_packs_epi16)
OF_TWO(__m256i, packs_epi32, _mm_packs_epi32)
OF_TWO(__m256i, and_si256, _mm_and_si128)
OF_TWO(__m256i, or_si256, _mm_or_si128)
OF_TWO(__m256i, xor_si256, _mm_xor_si128)
SHIFT(slli_epi16)
SHIFT(slli_epi32)
SHIFT(srli_epi16)

OF_NUMBER(__m256, float, set1_ps)
OF_NUMBER(__m256i, char, set1_epi8)
OF_NUMBER(__m256i, short, set1_epi16)
OF_NUMBER(__m256i, int, set1_epi32)

INLINE __m256 _mm256_broadcast_ss(const float *p)
{
    return _mm256_set1_ps(*p);
}

INLINE __m256 _mm256_setzero_ps(void)
{
    return (__m256){_mm_setzero_ps(), _mm_setzero_ps()};
}

INLINE __m256i _mm256_setzero_si256(void)
{
    return (__m256i){_mm_setzero_si128(), _mm_setzero_si128()};
}

INLINE __m256i _mm256_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h)
{
    return (__m256i){_mm_setr_epi32(a, b, c, d), _mm_setr_epi32(e, f, g, h)};
}

INLINE __m256 _mm256_blendv_ps(__m256 a, __m256 b, __m256 mask)
{
    return (__m256){_mm_blendv_ps(a.low, b.low, mask.low),
                    _mm_blendv_ps(a.high, b.high, mask.high)};
}

/* ---- memory and halves -------------------------------------------------------------------------
 */

INLINE __m256 _mm256_loadu_ps(const float *p)
{
    return (__m256){_mm_loadu_ps(p), _mm_loadu_ps(p + 4)};
}

INLINE void _mm256_storeu_ps(float *p, __m256 a)
{
    _mm_storeu_ps(p, a.low);
    _mm_storeu_ps(p + 4, a.high);
}

INLINE __m256i _mm256_loadu_si256(const __m256i *p)
{
    return (__m256i){_mm_loadu_si128((const __m128i *)p), _mm_loadu_si128((const __m128i *)p + 1)};
}

INLINE void _mm256_storeu_si256(__m256i *p, __m256i a)
{
    _mm_storeu_si128((__m128i *)p, a.low);
    _mm_storeu_si128((__m128i *)p + 1, a.high);
}

INLINE __m128 _mm256_castps256_ps128(__m256 a)
{
    return a.low;
}

INLINE __m128i _mm256_castsi256_si128(__m256i a)
{
    return a.low;
}

INLINE __m256i _mm256_broadcastsi128_si256(__m128i a)
{
    return (__m256i){a, a};
}

/* Only the upper half is ever extracted. */
#define _mm256_extractf128_ps(a, upper)    ((a).high)
#define _mm256_extracti128_si256(a, upper) ((a).high)

INLINE float _mm256_cvtss_f32(__m256 a)
{
    return _mm_cvtss_f32(a.low);
}

/* Through memory: it puts the bytes of quantised activations in order, once in 32. */
INLINE __m256i _mm256_permutevar8x32_epi32(__m256i a, __m256i order)
{
    int32_t from[8], at[8], to[8];
    _mm256_storeu_si256((__m256i *)from, a);
    _mm256_storeu_si256((__m256i *)at, order);
    for (int i = 0; i < 8; i++)
        to[i] = from[at[i]];
    return _mm256_loadu_si256((const __m256i *)to);
}

/* ---- other types -------------------------------------------------------------------------------
 */

INLINE __m256 _mm256_castsi256_ps(__m256i a)
{
    return (__m256){_mm_castsi128_ps(a.low), _mm_castsi128_ps(a.high)};
}

INLINE __m256i _mm256_castps_si256(__m256 a)
{
    return (__m256i){_mm_castps_si128(a.low), _mm_castps_si128(a.high)};
}

INLINE __m256 _mm256_cvtepi32_ps(__m256i a)
{
    return (__m256){_mm_cvtepi32_ps(a.low), _mm_cvtepi32_ps(a.high)};
}

INLINE __m256i _mm256_cvtps_epi32(__m256 a)
{
    return (__m256i){_mm_cvtps_epi32(a.low), _mm_cvtps_epi32(a.high)};
}

INLINE __m256i _mm256_cvtepi8_epi32(__m128i a)
{
    return (__m256i){_mm_cvtepi8_epi32(a), _mm_cvtepi8_epi32(_mm_srli_si128(a, 4))};
}

INLINE __m256i _mm256_cvtepu8_epi32(__m128i a)
{
    return (__m256i){_mm_cvtepu8_epi32(a), _mm_cvtepu8_epi32(_mm_srli_si128(a, 4))};
}

INLINE __m256i _mm256_cvtepu16_epi32(__m128i a)
{
    return (__m256i){_mm_cvtepu16_epi32(a), _mm_cvtepu16_epi32(_mm_srli_si128(a, 8))};
}

/* Four f16, each in the lower half of an int32. The fields move to their places and the exponent's
 * bias goes from 15 to 127; infinity and NaN get the rest up to 255; zero and subnormal numbers,
 * which have no leading one, are as if they had it and lose it by a subtraction. */
INLINE __m128 widen_f16(__m128i half)
{
    const __m128i largest = _mm_set1_epi32(0x1F << 23), one = _mm_set1_epi32(1 << 23);
    const __m128 smallest = _mm_set1_ps(0x1p-14f); /* that is normal */
    __m128i sign = _mm_slli_epi32(_mm_srli_epi32(half, 15), 31);
    __m128i bits = _mm_srli_epi32(_mm_slli_epi32(half, 17), 4);
    __m128i exponent = _mm_and_si128(bits, largest);
    __m128i is_largest = _mm_cmpeq_epi32(exponent, largest);
    __m128i is_zero = _mm_cmpeq_epi32(exponent, _mm_setzero_si128());
    bits = _mm_add_epi32(bits, _mm_set1_epi32(112 << 23));
    bits = _mm_add_epi32(bits, _mm_and_si128(is_largest, _mm_set1_epi32(112 << 23)));
    bits = _mm_add_epi32(bits, _mm_and_si128(is_zero, one));
    __m128 value = _mm_castsi128_ps(bits);
    value = _mm_sub_ps(value, _mm_and_ps(_mm_castsi128_ps(is_zero), smallest));
    return _mm_or_ps(value, _mm_castsi128_ps(sign));
}

INLINE __m256 _mm256_cvtph_ps(__m128i a)
{
    __m256i halves = _mm256_cvtepu16_epi32(a);
    return (__m256){widen_f16(halves.low), widen_f16(halves.high)};
}

/* To nearest even. Number by number: only what is stored into the KV cache comes here. */
#define _mm256_cvtps_ph(a, nearest) narrow_to_f16(a)

INLINE __m128i narrow_to_f16(__m256 a)
{
    float from[8];
    uint16_t to[8];
    _mm256_storeu_ps(from, a);
    for (int i = 0; i < 8; i++)
        to[i] = kl_f32_to_f16(from[i]);
    return _mm_loadu_si128((const __m128i *)to);
}

#define _cvtsh_ss kl_f16_to_f32

/* ---- fused multiply-add ------------------------------------------------------------------------
 *
 * A product of floats is exact as a double, so only the sum is rounded before the result is, to 53
 * bits. Rounding that again to float gives what rounding once does, but where the double lies half
 * way between two floats: there, what the first rounding took away decides. Of normal floats, that
 * is where the last 29 bits are 1 and 28 zeros. Of subnormal ones it is elsewhere: they all count
 * as doubtful. In doubt, which is one time in thousands, fmaf() computes the numbers again.
 */

INLINE __m128 add_product(__m128 a, __m128 b, __m128 c, __m128i *doubtful)
{
    __m128d low = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b));
    __m128d high = _mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b)));
    low = _mm_add_pd(low, _mm_cvtps_pd(c));
    high = _mm_add_pd(high, _mm_cvtps_pd(_mm_movehl_ps(c, c)));
    __m128 result = _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));

    __m128i last = _mm_castps_si128(
        _mm_shuffle_ps(_mm_castpd_ps(low), _mm_castpd_ps(high), _MM_SHUFFLE(2, 0, 2, 0)));
    last = _mm_slli_epi32(last, 3);
    __m128i half_way = _mm_cmpeq_epi32(last, _mm_set1_epi32(INT32_MIN));
    /* twice the bits is 0 for a zero and 2 to 2^24 for a subnormal and for what may have been one
     * before it was rounded; less 1 and 2^31, these are the lowest */
    __m128i bits = _mm_castps_si128(result);
    bits = _mm_add_epi32(_mm_add_epi32(bits, bits), _mm_set1_epi32(INT32_MAX));
    __m128i subnormal = _mm_cmpgt_epi32(_mm_set1_epi32(INT32_MIN + (1 << 24)), bits);
    *doubtful = _mm_or_si128(half_way, subnormal);
    return result;
}

static __attribute__((noinline, cold)) __m256 add_products_exactly(__m256 a, __m256 b, __m256 c)
{
    float x[8], y[8], z[8];
    _mm256_storeu_ps(x, a);
    _mm256_storeu_ps(y, b);
    _mm256_storeu_ps(z, c);
    for (int i = 0; i < 8; i++)
        z[i] = fmaf(x[i], y[i], z[i]);
    return _mm256_loadu_ps(z);
}

INLINE __m256 _mm256_fmadd_ps(__m256 a, __m256 b, __m256 c)
{
    __m128i low, high;
    __m256 result = {add_product(a.low, b.low, c.low, &low),
                     add_product(a.high, b.high, c.high, &high)};
    if (__builtin_expect(_mm_movemask_epi8(_mm_or_si128(low, high)) != 0, 0))
        return add_products_exactly(a, b, c);
    return result;
}

INLINE __m256 _mm256_fmsub_ps(__m256 a, __m256 b, __m256 c)
{
    return _mm256_fmadd_ps(a, b, _mm256_xor_ps(c, _mm256_set1_ps(-0.0f)));
}

INLINE __m256 _mm256_fnmadd_ps(__m256 a, __m256 b, __m256 c)
{
    return _mm256_fmadd_ps(_mm256_xor_ps(a, _mm256_set1_ps(-0.0f)), b, c);
}

#endif
