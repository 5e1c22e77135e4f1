/*
 * What the products of all vector tiers have in common: the words that matmul_driver.h and the
 * tiers' files share. No instructions of any CPU.
 */
#ifndef KL_KERNELS_MATMUL_TILES_H
#define KL_KERNELS_MATMUL_TILES_H

#include "kernels/kernels.h"
#include "kernels/layout.h"

/* Up to this many tokens read the packed weights once and unpack in registers. */
enum { MOST_FEW = 4 };

/* What a tile works on: a constant number of groups and tokens, from `first_block` of the row on.
 */
struct tile {
    const void *panel; /* what unpack_block() made of them */
    size_t n_blocks;
    const struct kl_activations *x;
    size_t token, first_block;
    float *y; /* outputs of the token, first group */
    size_t y_stride;
};

/* Of w in the products: of both parts, the high one, which holds the scales. KL_Q8_LOW stands for
 * both parts together here. */
INLINE struct kl_layout layout_of(enum kl_quant type)
{
    return kl_layout(type == KL_Q8_LOW ? KL_Q8_HIGH : type);
}

/* Scales for each 16 columns, not 32: a block's sum has two parts. */
INLINE bool has_halves(enum kl_quant type)
{
    return kl_packed_scales(type) == KL_SCALES_HALVES;
}

/* Block b of a group of the low part; NULL where there is none. */
INLINE const uint8_t *low_block(enum kl_quant type, const uint8_t *low, size_t n_blocks,
                                size_t group, size_t b)
{
    return type == KL_Q8_LOW ? low + (group * n_blocks + b) * kl_layout(KL_Q8_LOW).block_bytes
                             : NULL;
}

#endif
