/*
 * The limits of the NEON tier with products of matrices; see peak.h.
 */
#define PRODUCT      vmmlaq_s32
#define PRODUCT_MACS 32
#include "kernels/neon_peak_sums.h"

const struct kl_peak kl_peak_neon_i8mm = {
    .name = "neon-i8mm", .read = read_all, .multiply = multiply};
