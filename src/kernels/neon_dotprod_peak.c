/*
 * The limits of the NEON tier with dot products; see peak.h.
 */
#define PRODUCT      vdotq_s32
#define PRODUCT_MACS 16
#include "kernels/neon_peak_sums.h"

const struct kl_peak kl_peak_neon_dotprod = {
    .name = "neon-dotprod", .read = read_all, .multiply = multiply};
