/*
 * What the NEON tier with products of matrices could do at best; see peak.h. Reading is as without.
 */
#include <arm_neon.h>

#include "kernels/peak.h"

#define VECTORS 8 /* 32 products each: a step */

static uint64_t read_all(const void *data, size_t size)
{
    return kl_peak_neon.read(data, size);
}

/* What the products do, and nothing else: SMMLA, no load. */
static uint64_t multiply(size_t steps)
{
    int8x16_t w = vdupq_n_s8(1), x = vdupq_n_s8(1);
    int32x4_t sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = vdupq_n_s32(0);
    for (; steps > 0; steps--) {
        for (int i = 0; i < VECTORS; i++) {
            int32x4_t sum = vmmlaq_s32(sums[i], w, x);
            /* for all the compiler knows, w is another one each time; and sums stay in place */
            __asm__("" : "+w"(w), "+w"(sum));
            sums[i] = sum;
        }
    }
    int64_t total = 0;
    for (int i = 0; i < VECTORS; i++)
        total += vaddlvq_s32(sums[i]);
    return (uint64_t)total;
}

const struct kl_peak kl_peak_neon_i8mm = {
    .name = "neon-i8mm", .read = read_all, .multiply = multiply};
