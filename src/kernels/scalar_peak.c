/*
 * The limits of the scalar tier; see peak.h.
 */
#include <string.h>

#include "kernels/peak.h"

#define WORDS 8 /* sums that do not wait for each other */

static uint64_t read_all(const void *data, size_t size)
{
    uint64_t sums[WORDS] = {0}, words[WORDS];
    const uint8_t *at = data;
    for (size_t n = size / sizeof words; n > 0; n--, at += sizeof words) {
        memcpy(words, at, sizeof words);
        for (int i = 0; i < WORDS; i++)
            sums[i] += words[i];
    }
    uint64_t total = 0;
    for (int i = 0; i < WORDS; i++)
        total += sums[i];
    return total;
}

static uint64_t multiply(size_t steps)
{
    int8_t w[KL_PEAK_MACS], x[KL_PEAK_MACS];
    memset(w, 1, sizeof w);
    memset(x, 1, sizeof x);
    uint64_t total = 0;
    for (; steps > 0; steps--) {
        /* w and x count as new values each time */
        __asm__("" : : "r"(w), "r"(x) : "memory");
        int32_t sum = 0;
        for (size_t i = 0; i < KL_PEAK_MACS; i++)
            sum += w[i] * x[i];
        total += (uint64_t)sum;
    }
    return total;
}

const struct kl_peak kl_peak_scalar = {.name = "scalar", .read = read_all, .multiply = multiply};
