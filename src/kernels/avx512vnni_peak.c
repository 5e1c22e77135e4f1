/*
 * What the AVX-512 VNNI tier could do at best; see peak.h.
 */
#include <immintrin.h>

#include "kernels/peak.h"

/* A step is 4 vectors of 64 products. 12 sums do not wait for each other, for 5 cycles of latency
 * and 2 products a cycle: three steps at a time. */
#define A_STEP  4
#define VECTORS (3 * A_STEP)
_Static_assert(A_STEP * 64 == KL_PEAK_MACS, "KL_PEAK_MACS");

#ifdef __AVX512F__
#define KEEP(v) __asm__("" : "+v"(v))
#else
#define KEEP(v) (void)(v)
#endif

/* The first n of the sums, by one product each; for all the compiler knows, w is another one each
 * time, and sums stay in place. n: a constant, or the sums would lie in memory. */
static inline __attribute__((always_inline)) void add_products(__m512i sums[VECTORS], __m512i w,
                                                               __m512i x, const int n)
{
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        KEEP(w);
        sums[i] = _mm512_dpbusd_epi32(sums[i], w, x);
        KEEP(sums[i]);
    }
}

static uint64_t multiply(size_t steps)
{
    const __m512i w = _mm512_set1_epi8(1), x = _mm512_set1_epi8(1);
    __m512i sums[VECTORS];
#pragma GCC unroll 12
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm512_setzero_si512();
    for (; steps >= 3; steps -= 3)
        add_products(sums, w, x, VECTORS);
    for (; steps > 0; steps--)
        add_products(sums, w, x, A_STEP);
#pragma GCC unroll 12
    for (int i = 1; i < VECTORS; i++)
        sums[0] = _mm512_add_epi32(sums[0], sums[i]);
    uint32_t words[16];
    _mm512_storeu_si512(words, sums[0]);
    uint64_t total = 0;
    for (int i = 0; i < 16; i++)
        total += words[i];
    return total;
}

const struct kl_peak kl_peak_avx512vnni = {
    .name = "avx512vnni", .read = kl_avx2_peak_read, .multiply = multiply};
