/*
 * The definitions that matmul_driver.h and the files of all vector tiers share. Contains no
 * instructions of any CPU.
 */
#ifndef KL_KERNELS_MATMUL_TILES_H
#define KL_KERNELS_MATMUL_TILES_H

#include "kernels/kernels.h"
#include "kernels/layout.h"

/* few_ahead() of the tiers that are faster without it on short rows: long rows of several tokens do
 * not stay in L1 together with the weights, and reading them delays the weights. With prefetching,
 * 4 tokens x 4864 columns are 1.5 times as fast (SPEED.md). */
INLINE size_t ahead_in_long_rows(size_t n_blocks, int width)
{
    return width > 1 && n_blocks > KL_PANEL_BLOCKS ? 4096 : 0;
}

/* The same, and of three tokens and more on short rows, too: with their products in between the
 * hardware does not prefetch far enough. */
INLINE size_t ahead_of_three_tokens(size_t n_blocks, int width)
{
    return width > 2 ? 4096 : ahead_in_long_rows(n_blocks, width);
}

/* The most tokens that any tier unpacks the packed weights for in registers: see FEW_MOST in
 * matmul_driver.h. */
enum { MOST_FEW = 8 };

/* The product of all tokens, a few at a time; a function of its own for each type, so that it is
 * compiled once. */
typedef void by_few_fn(const uint8_t *w, const uint8_t *low, size_t begin, size_t end,
                       const struct kl_activations *x, float *y, size_t y_stride);

/* Leaves out the first n tokens. */
INLINE void skip_tokens(struct kl_activations *x, size_t n)
{
    x->n -= n;
    x->blocks += n * (x->k / KL_BLOCK);
}

/* The inputs and outputs of a tile of a panel: a constant number of groups and tokens, from
 * `first_block` of the row on. */
struct tile {
    const void *panel; /* the groups as unpack_block() has unpacked them */
    size_t n_blocks;
    const struct kl_activations *x;
    size_t token, first_block;
    float *y; /* outputs of the token, first group */
    size_t y_stride;
};

/* The layout of w in the products. KL_Q8_LOW stands for both parts together here, and w is the high
 * part, which holds the scales. */
INLINE struct kl_layout layout_of(enum kl_quant type)
{
    return kl_layout(type == KL_Q8_LOW ? KL_Q8_HIGH : type);
}

/* Whether the minimum has them, too: Q2_K. */
INLINE bool has_min_halves(enum kl_quant type)
{
    return kl_packed_scales(type) == KL_SCALES_NIBBLES;
}

/* Whether a type has a factor for each 16 columns, so that the sum of a block has two parts: Q2_K,
 * Q3_K and Q6_K. */
INLINE bool has_halves(enum kl_quant type)
{
    return kl_packed_scales(type) == KL_SCALES_HALVES || has_min_halves(type);
}

/* Block b of a group of the low part; NULL if the type has none. */
INLINE const uint8_t *low_block(enum kl_quant type, const uint8_t *low, size_t n_blocks,
                                size_t group, size_t b)
{
    return type == KL_Q8_LOW ? low + (group * n_blocks + b) * kl_layout(KL_Q8_LOW).block_bytes
                             : NULL;
}

#endif
