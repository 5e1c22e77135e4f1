/*
 * The limits of the AVX-512 VNNI tier; see peak.h. 12 sums, for 5 cycles of latency and 2
 * products a cycle.
 */
#define PRODUCT _mm512_dpbusd_epi32
#define SUM     uint32_t
#define STEPS   3
#include "kernels/avx512_peak_sums.h"

const struct kl_peak kl_peak_avx512vnni = {
    .name = "avx512vnni", .read = kl_avx2_peak_read, .multiply = multiply};
