/*
 * The limits of the AVX-VNNI tier; see peak.h.
 */
#include <immintrin.h>

#include "kernels/peak.h"

/* Independent sums, of 32 products a step. */
#define VECTORS 8
_Static_assert(VECTORS * 32 == KL_PEAK_MACS, "KL_PEAK_MACS");

static uint64_t multiply(size_t steps)
{
    __m256i w = _mm256_set1_epi8(1), x = _mm256_set1_epi8(1), sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = _mm256_setzero_si256();
    for (; steps > 0; steps--) {
        for (int i = 0; i < VECTORS; i++) {
            __m256i sum = _mm256_dpbusd_avx_epi32(sums[i], w, x);
            /* w counts as a new value each time, and sums stay in registers */
            __asm__("" : "+x"(w), "+x"(sum));
            sums[i] = sum;
        }
    }
    uint64_t total = 0;
    for (int i = 0; i < VECTORS; i++) {
        uint32_t words[8];
        _mm256_storeu_si256((__m256i *)words, sums[i]);
        for (int j = 0; j < 8; j++)
            total += words[j];
    }
    return total;
}

const struct kl_peak kl_peak_avxvnni = {
    .name = "avxvnni", .read = kl_avx2_peak_read, .multiply = multiply};
