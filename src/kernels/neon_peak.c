/*
 * The limits of the NEON tier; see peak.h.
 */
#include <arm_neon.h>

#include "kernels/peak.h"

/* Independent sums: 128 bytes, two cache lines, at a time. */
#define VECTORS 8

static uint64_t read_all(const void *data, size_t size)
{
    uint64x2_t sums[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        sums[i] = vdupq_n_u64(0);
    const uint64_t *at = data;
    for (size_t n = size / sizeof sums; n > 0; n--, at += 2 * VECTORS)
        for (int i = 0; i < VECTORS; i++)
            sums[i] = vaddq_u64(sums[i], vld1q_u64(at + 2 * i));
    for (int i = 1; i < VECTORS; i++)
        sums[0] = vaddq_u64(sums[0], sums[i]);
    return vaddvq_u64(sums[0]);
}

/* Multiplies as the products do, and nothing else: SMLAL, no load. Sums are of 4 products a step in
 * each of 8 lanes of 8 vectors, and wrap in int16: widened every 4096 steps, while they are below
 * 2^15. */
static uint64_t multiply(size_t steps)
{
    int8x8_t w = vdup_n_s8(1), x = vdup_n_s8(1);
    int64_t total = 0;
    while (steps > 0) {
        int16x8_t sums[VECTORS];
        size_t n = steps < 4096 ? steps : 4096;
        steps -= n;
        for (int i = 0; i < VECTORS; i++)
            sums[i] = vdupq_n_s16(0);
        for (; n > 0; n--) {
            for (int i = 0; i < 4 * VECTORS; i++) {
                int16x8_t sum = vmlal_s8(sums[i % VECTORS], w, x);
                /* makes the compiler take w for a new value each time, and keep the sums in
                 * registers */
                __asm__("" : "+w"(w), "+w"(sum));
                sums[i % VECTORS] = sum;
            }
        }
        for (int i = 0; i < VECTORS; i++)
            total += vaddlvq_s16(sums[i]);
    }
    return (uint64_t)total;
}

const struct kl_peak kl_peak_neon = {.name = "neon", .read = read_all, .multiply = multiply};
