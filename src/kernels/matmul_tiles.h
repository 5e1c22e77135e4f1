/*
 * The definitions that matmul_driver.h and the files of all vector tiers share. Contains no
 * instructions of any CPU.
 */
#ifndef KL_KERNELS_MATMUL_TILES_H
#define KL_KERNELS_MATMUL_TILES_H

#include "kernels/kernels.h"
#include "kernels/layout.h"

/* Up to this many tokens read the packed weights once and unpack in registers. */
enum { MOST_FEW = 4 };

/* The inputs and outputs of a tile: a constant number of groups and tokens, from `first_block` of
 * the row on. */
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

/* Whether a type has a scale for each 16 columns, so that the sum of a block has two parts (Q6_K).
 */
INLINE bool has_halves(enum kl_quant type)
{
    return kl_packed_scales(type) == KL_SCALES_HALVES;
}

/* Block b of a group of the low part; NULL if the type has none. */
INLINE const uint8_t *low_block(enum kl_quant type, const uint8_t *low, size_t n_blocks,
                                size_t group, size_t b)
{
    return type == KL_Q8_LOW ? low + (group * n_blocks + b) * kl_layout(KL_Q8_LOW).block_bytes
                             : NULL;
}

#endif
