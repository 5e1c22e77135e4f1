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

static uint64_t multiply(size_t steps)
{
    __m512i w = _mm512_set1_epi8(1), x = _mm512_set1_epi8(1), sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm512_setzero_si512();
    while (steps > 0) {
        size_t n = steps < 3 ? steps * A_STEP : VECTORS;
        steps -= n / A_STEP;
        if (n == VECTORS) {
#pragma GCC unroll 12
            for (int i = 0; i < VECTORS; i++) {
                /* for all the compiler knows, w is another one each time; sums stay in place */
                KEEP(w);
                sums[i] = _mm512_dpbusd_epi32(sums[i], w, x);
                KEEP(sums[i]);
            }
            continue;
        }
        for (size_t i = 0; i < n; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], w, x);
    }
    uint64_t total = 0;
    for (int i = 0; i < VECTORS; i++) {
        uint32_t words[16];
        _mm512_storeu_si512(words, sums[i]);
        for (int j = 0; j < 16; j++)
            total += words[j];
    }
    return total;
}

const struct kl_peak kl_peak_avx512vnni = {
    .name = "avx512vnni", .read = kl_avx2_peak_read, .multiply = multiply};
