/*
 * What the files of the AVX-512 tiers share before their own part: words in 512 bits, and the
 * offsets of a tile's tokens. Included after offset_in_sum(), which says what is subtracted from
 * every weight of a type.
 */
#ifndef KL_KERNELS_AVX512_BLOCKS_H
#define KL_KERNELS_AVX512_BLOCKS_H

#include "kernels/avx2_blocks.h"

enum { TILE_TOKENS = 8 };

/* As KEEP_ORDER, for 512 bits; where these are emulated there is no register to keep them in. */
#ifdef __AVX512F__
#define KEEP_ORDER_512(v) __asm__ volatile("" : "+v"(v))
#else
#define KEEP_ORDER_512(v) (void)(v)
#endif

INLINE __m512i broadcast_word(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

/* What the weights' offset takes off the sums of a token's blocks, Q6_K: of both halves. Computed
 * once for a tile, in vectors that the compiler makes, and broadcast from there. (The sums that
 * minima meet are not: other ports of the core have time for them.) */
struct token_offsets {
    int32_t of[2][KL_PANEL_BLOCKS];
};

INLINE void prepare_offsets(enum kl_quant type, const int16_t *sums, size_t n_blocks,
                            struct token_offsets *out)
{
    const int offset = type == KL_Q8_HIGH ? 249 : offset_in_sum(type);
    const bool halves = has_halves(type);
    for (size_t b = 0; b < n_blocks && halves && offset != 0; b++) {
        out->of[0][b] = -offset * sums[2 * b];
        out->of[1][b] = -offset * sums[2 * b + 1];
    }
    for (size_t b = 0; b < n_blocks && !halves && offset != 0; b++)
        out->of[0][b] = -offset * (sums[2 * b] + sums[2 * b + 1]);
}

#endif
