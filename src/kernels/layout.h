/*
 * The packed layout in numbers, for the files of kernels/ only. packing.h describes it.
 */
#ifndef KL_KERNELS_LAYOUT_H
#define KL_KERNELS_LAYOUT_H

#include <stdbool.h>

#include "kernels/packing.h"

/* Parts of one block of 8 rows x 32 columns, bytes from its start; 0 bytes where a type lacks
 * one. Always inlined with a constant type, so that a kernel's code holds only its own case. */
struct kl_layout {
    unsigned super_blocks; /* blocks that share a header: 8 for K types, else 1 */
    unsigned header_bytes; /* in front of every super_blocks blocks: d[8], and dmin[8], as f16 */
    unsigned nibbles;      /* offset of the nibble plane; what stands before it are the scales */
    unsigned bits;         /* offset of the plane(s) of upper bits */
    unsigned block_bytes;
    bool has_min;
    unsigned tail_bytes; /* behind the blocks of a group */
};

static inline __attribute__((always_inline)) struct kl_layout kl_layout(enum kl_quant type)
{
    switch (type) {
    case KL_Q4_0:
        return (struct kl_layout){1, 0, 16, 0, 16 + 128, false, 0};
    case KL_Q4_1:
        return (struct kl_layout){1, 0, 32, 0, 32 + 128, true, 0};
    case KL_Q5_0:
        return (struct kl_layout){1, 0, 16, 16 + 128, 16 + 128 + 32, false, 0};
    case KL_Q5_1:
        return (struct kl_layout){1, 0, 32, 32 + 128, 32 + 128 + 32, true, 0};
    case KL_Q8_0:
        return (struct kl_layout){1, 0, 16, 0, 16 + 256, false, 0};
    case KL_Q4_K:
        return (struct kl_layout){8, 32, 16, 0, 16 + 128, true, 0};
    case KL_Q5_K:
        return (struct kl_layout){8, 32, 16, 16 + 128, 16 + 128 + 32, true, 0};
    case KL_Q6_K:
        return (struct kl_layout){8, 16, 16, 16 + 128, 16 + 128 + 64, false, 0};
    case KL_Q8_HIGH:
        return (struct kl_layout){
            1, 0, 16, 16 + 128, 16 + 128 + 32, false, KL_LANES * sizeof(float)};
    case KL_Q8_LOW:
        return (struct kl_layout){1, 0, 0, 0, 64 + 32, false, 0};
    case KL_F32:
        return (struct kl_layout){1, 0, 0, 0, 4 * 256, false, 0};
    case KL_F16:
    case KL_BF16:
        return (struct kl_layout){1, 0, 0, 0, 2 * 256, false, 0};
    }
    return (struct kl_layout){0};
}

/* Bytes of a group of `blocks` whole blocks. */
static inline __attribute__((always_inline)) size_t kl_layout_bytes(struct kl_layout l,
                                                                    size_t blocks)
{
    return blocks / l.super_blocks * l.header_bytes + blocks * l.block_bytes + l.tail_bytes;
}

/* Where block b of a packed group begins, and the header of its super block. */
static inline __attribute__((always_inline)) const uint8_t *
kl_layout_block(struct kl_layout l, const uint8_t *group, size_t b, const uint8_t **header)
{
    size_t super = b / l.super_blocks;
    *header = group + super * (l.header_bytes + (size_t)l.super_blocks * l.block_bytes);
    return *header + l.header_bytes + (b % l.super_blocks) * l.block_bytes;
}

#endif
