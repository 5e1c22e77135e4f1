/*
 * Replaces the compiler's <immintrin.h> for check_kernels_emulated: SIMDe emulates the instructions
 * newer than AVX2, so that these tiers are checked on CPUs without them.
 */
#include_next <immintrin.h>

#ifndef TESTS_KERNELS_EMULATED_IMMINTRIN_H
#define TESTS_KERNELS_EMULATED_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

/* Missing in SIMDe 0.7 of Debian 12. */
static inline __m512 emulated_cvtepi32_ps(__m512i v)
{
    __m512 out;
    for (int i = 0; i < 2; i++) {
        __m256i half = _mm256_loadu_si256((const __m256i *)&v + i);
        _mm256_storeu_ps((float *)&out + 8 * i, _mm256_cvtepi32_ps(half));
    }
    return out;
}
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps

static inline __m512 emulated_cvtph_ps(__m256i v)
{
    __m512 out;
    for (int i = 0; i < 2; i++) {
        __m128i half = _mm_loadu_si128((const __m128i *)&v + i);
        _mm256_storeu_ps((float *)&out + 8 * i, _mm256_cvtph_ps(half));
    }
    return out;
}
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps emulated_cvtph_ps

static inline __m512i emulated_cvtepi8_epi32(__m128i v)
{
    __m512i out;
    __m256i half[2] = {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
    for (int i = 0; i < 2; i++)
        _mm256_storeu_si256((__m256i *)&out + i, half[i]);
    return out;
}
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32

/* SIMDe 0.7 has another function with this name and four arguments. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16

/* AVX-VNNI's encodings of the same instructions, which SIMDe lacks. */
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 simde_mm256_dpwssd_epi32

#endif
