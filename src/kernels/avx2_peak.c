/*
 * The limits of the AVX2 tier; see peak.h.
 */
#include <immintrin.h>

#include "kernels/peak.h"

/* Additions of one vector are independent of those of the others: 8 hide the latency of a load that
 * hits L1, and one step is two to eight cache lines, whatever their size. */
#define VECTORS 8

static uint64_t sum_words(__m256i v)
{
    __m128i half = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_add_epi64(half, _mm_unpackhi_epi64(half, half));
    return (uint64_t)_mm_cvtsi128_si64(half);
}

uint64_t kl_avx2_peak_read(const void *data, size_t size)
{
    __m256i sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm256_setzero_si256();
    const __m256i *at = data;
    for (size_t n = size / sizeof sums; n > 0; n--, at += VECTORS)
        for (int i = 0; i < VECTORS; i++)
            sums[i] = _mm256_add_epi64(sums[i], _mm256_loadu_si256(at + i));
    for (int i = 1; i < VECTORS; i++)
        sums[0] = _mm256_add_epi64(sums[0], sums[i]);
    return sum_words(sums[0]);
}

/* Multiplies as the products do, and nothing else: vpmaddubsw and an addition in int16, no load. */
static uint64_t multiply(size_t steps)
{
    __m256i w = _mm256_set1_epi8(1), x = _mm256_set1_epi8(1), sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm256_setzero_si256();
    for (; steps > 0; steps--) {
        for (int i = 0; i < VECTORS; i++) {
            __m256i sum = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(w, x));
            /* w counts as a new value each time, and sums stay in registers */
            __asm__("" : "+x"(w), "+x"(sum));
            sums[i] = sum;
        }
    }
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < VECTORS; i++) {
        __m256i low = _mm256_and_si256(sums[i], _mm256_set1_epi32(0xFFFF));
        __m256i both = _mm256_add_epi32(low, _mm256_srli_epi32(sums[i], 16));
        total = _mm256_add_epi64(total, _mm256_and_si256(both, _mm256_set1_epi64x(0xFFFFFFFF)));
        total = _mm256_add_epi64(total, _mm256_srli_epi64(both, 32));
    }
    return sum_words(total);
}

const struct kl_peak kl_peak_avx2 = {
    .name = "avx2", .read = kl_avx2_peak_read, .multiply = multiply};
