/*
 * The limits of the SSE4.1 tier; see peak.h.
 */
#include <smmintrin.h>

#include "kernels/peak.h"

/* Independent sums: 128 bytes, two cache lines, at a time. */
#define VECTORS 8

static uint64_t sum_words(__m128i v)
{
    v = _mm_add_epi64(v, _mm_unpackhi_epi64(v, v));
    return (uint64_t)_mm_cvtsi128_si64(v);
}

static uint64_t read_all(const void *data, size_t size)
{
    __m128i sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm_setzero_si128();
    const __m128i *at = data;
    for (size_t n = size / sizeof sums; n > 0; n--, at += VECTORS)
        for (int i = 0; i < VECTORS; i++)
            sums[i] = _mm_add_epi64(sums[i], _mm_loadu_si128(at + i));
    for (int i = 1; i < VECTORS; i++)
        sums[0] = _mm_add_epi64(sums[0], sums[i]);
    return sum_words(sums[0]);
}

/* Multiplies as the products do, and nothing else: pmaddubsw and an addition in int16, no load.
 * Each of the sums takes 2 products twice a step, and must stay below 2^16 for 16383 steps. */
_Static_assert(KL_PEAK_MACS == 2 * VECTORS * 16, "KL_PEAK_MACS");

static uint64_t multiply(size_t steps)
{
    __m128i w = _mm_set1_epi8(1), x = _mm_set1_epi8(1), sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm_setzero_si128();
    for (; steps > 0; steps--) {
        for (int i = 0; i < 2 * VECTORS; i++) {
            __m128i sum = _mm_add_epi16(sums[i % VECTORS], _mm_maddubs_epi16(w, x));
            /* w counts as a new value each time, and sums stay in registers */
            __asm__("" : "+x"(w), "+x"(sum));
            sums[i % VECTORS] = sum;
        }
    }
    __m128i total = _mm_setzero_si128();
    for (int i = 0; i < VECTORS; i++) {
        __m128i low = _mm_and_si128(sums[i], _mm_set1_epi32(0xFFFF));
        __m128i both = _mm_add_epi32(low, _mm_srli_epi32(sums[i], 16));
        total = _mm_add_epi64(total, _mm_and_si128(both, _mm_set1_epi64x(0xFFFFFFFF)));
        total = _mm_add_epi64(total, _mm_srli_epi64(both, 32));
    }
    return sum_words(total);
}

const struct kl_peak kl_peak_sse41 = {.name = "sse4.1", .read = read_all, .multiply = multiply};
