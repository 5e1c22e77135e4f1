/*
 * The limits of the tiers with 512-bit products; see peak.h. The including file defines before
 *   PRODUCT(sum, w, x)   sum + products of the 64 int8 of w and x
 *   SUM                  the type of an element of a sum
 *   STEPS                how many steps at a time, so that enough independent sums hide the latency
 * and after it the table, of kl_avx2_peak_read and multiply.
 */
#include <immintrin.h>

#include "kernels/peak.h"

#define A_STEP  (KL_PEAK_MACS / 64)
#define VECTORS (STEPS * A_STEP)

#ifdef __AVX512F__
#define KEEP(v) __asm__("" : "+v"(v))
#else
#define KEEP(v) (void)(v)
#endif

/* Multiplies as the products do, and nothing else, to the first n of the sums. The compiler takes w
 * for a new value each time, and keeps the sums in registers: n must be a constant for that.
 */
static inline __attribute__((always_inline)) void add_products(__m512i sums[VECTORS], __m512i w,
                                                               __m512i x, const int n)
{
#pragma GCC unroll 12
    for (int i = 0; i < n; i++) {
        KEEP(w);
        sums[i] = PRODUCT(sums[i], w, x);
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
    for (; steps >= STEPS; steps -= STEPS)
        add_products(sums, w, x, VECTORS);
    for (; steps > 0; steps--)
        add_products(sums, w, x, A_STEP);
    uint64_t total = 0;
#pragma GCC unroll 12
    for (int i = 0; i < VECTORS; i++) {
        SUM elements[64 / sizeof(SUM)];
        _mm512_storeu_si512(elements, sums[i]);
        for (size_t j = 0; j < sizeof elements / sizeof *elements; j++)
            total += elements[j];
    }
    return total;
}
