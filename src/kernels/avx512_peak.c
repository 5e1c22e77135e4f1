/*
 * What the AVX-512 tier could do at best; see peak.h.
 */
#include <immintrin.h>

#include "kernels/peak.h"

/* A step is 4 vectors of 64 products; two steps at a time, so that 8 sums do not wait for each
 * other. */
#define A_STEP  4
#define VECTORS (2 * A_STEP)
_Static_assert(A_STEP * 64 == KL_PEAK_MACS, "KL_PEAK_MACS");

#ifdef __AVX512F__
#define KEEP(v) __asm__("" : "+v"(v))
#else
#define KEEP(v) (void)(v)
#endif

/* What the products do, and nothing else: vpmaddubsw and an addition in int16, to the first n of
 * the sums. For all the compiler knows, w is another one each time, and sums stay in place. n: a
 * constant, or the sums would lie in memory. */
static inline __attribute__((always_inline)) void add_products(__m512i sums[VECTORS], __m512i w,
                                                               __m512i x, const int n)
{
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        KEEP(w);
        sums[i] = _mm512_add_epi16(sums[i], _mm512_maddubs_epi16(w, x));
        KEEP(sums[i]);
    }
}

static uint64_t multiply(size_t steps)
{
    const __m512i w = _mm512_set1_epi8(1), x = _mm512_set1_epi8(1);
    __m512i sums[VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm512_setzero_si512();
    for (; steps >= 2; steps -= 2)
        add_products(sums, w, x, VECTORS);
    for (; steps > 0; steps--)
        add_products(sums, w, x, A_STEP);
    uint64_t total = 0;
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        uint16_t words[32];
        _mm512_storeu_si512(words, sums[i]);
        for (int j = 0; j < 32; j++)
            total += words[j];
    }
    return total;
}

const struct kl_peak kl_peak_avx512 = {
    .name = "avx512", .read = kl_avx2_peak_read, .multiply = multiply};
