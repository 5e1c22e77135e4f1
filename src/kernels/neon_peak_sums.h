/*
 * The limits of the NEON tiers whose products are sums in int32; see peak.h. The including
 * file defines before
 *   PRODUCT(sum, w, x)   the instruction: sum + products of the 16 int8 of w and x
 *   PRODUCT_MACS         how many products that are
 * and after it the table, of read_all and multiply.
 */
#include <arm_neon.h>

#include "kernels/peak.h"

/* Independent sums: a step. */
#define VECTORS (KL_PEAK_MACS / PRODUCT_MACS)

/* Reads as the NEON tier does. */
static uint64_t read_all(const void *data, size_t size)
{
    return kl_peak_neon.read(data, size);
}

/* Multiplies as the products do, and nothing else: no load. */
static uint64_t multiply(size_t steps)
{
    int8x16_t w = vdupq_n_s8(1), x = vdupq_n_s8(1);
    int32x4_t sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = vdupq_n_s32(0);
    for (; steps > 0; steps--) {
        for (int i = 0; i < VECTORS; i++) {
            int32x4_t sum = PRODUCT(sums[i], w, x);
            /* w counts as a new value each time, and sums stay in registers */
            __asm__("" : "+w"(w), "+w"(sum));
            sums[i] = sum;
        }
    }
    int64_t total = 0;
    for (int i = 0; i < VECTORS; i++)
        total += vaddlvq_s32(sums[i]);
    return (uint64_t)total;
}
