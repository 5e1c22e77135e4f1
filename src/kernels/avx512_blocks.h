/*
 * The definitions that the files of the AVX-512 tiers share: broadcasts in 512 bits, and the
 * offsets of a tile's tokens. Included after offset_in_sum(), which gives the number that is
 * subtracted from every weight of a type.
 */
#ifndef KL_KERNELS_AVX512_BLOCKS_H
#define KL_KERNELS_AVX512_BLOCKS_H

#include "kernels/avx2_blocks.h"

enum { TILE_TOKENS = 8 };

/* KEEP_ORDER for 512 bits; does nothing where these are emulated, as there is no such register. */
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

/* The offset of the weights times the sums of a token's activations, negated, for each block, or
 * for each half of it. Computed once for a tile, vectorised by the compiler, and broadcast from
 * here. (The products with minima are not: other ports of the core are free for them.) */
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
