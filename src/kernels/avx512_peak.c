/*
 * The limits of the AVX-512 tier; see peak.h: vpmaddubsw and an addition in int16.
 */
#define PRODUCT(sum, w, x) _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, x))
#define SUM                uint16_t
#define STEPS              2
#include "kernels/avx512_peak_sums.h"

const struct kl_peak kl_peak_avx512 = {
    .name = "avx512", .read = kl_avx2_peak_read, .multiply = multiply};
