/*
 * The packed layout in numbers, for the files of kernels/ only; packing.h describes it.
 *
 * kl_layout() is the one place that says of which parts the packed form of a type is made. The
 * kernels ask for the parts and hardly ever for the type, so a new type of known parts needs no
 * kernel. Always inlined with a constant type: the code of a kernel holds only its own case.
 */
#ifndef KL_KERNELS_LAYOUT_H
#define KL_KERNELS_LAYOUT_H

#include <stdbool.h>

#include "kernels/packing.h"

#define INLINE static inline __attribute__((always_inline))

/* The scales of 8 rows; d and m are [8] f16 each, m only where the type has a minimum. */
enum kl_scales {
    KL_SCALES_PER_BLOCK, /* d and m in front of each block */
    KL_SCALES_U8,        /* d and m in the header, in front of each block [8] uint8 factors of d and
                            [8] of m: Q4_K, Q5_K */
    KL_SCALES_HALVES     /* d in the header, in front of each block [8] int8 factors for columns
                            0..15 and [8] for columns 16..31: Q6_K */
};

/* The parts of which the packed form of a type is made: X(NAME, bits, offset, scales, has_min). An
 * unsigned weight w of `bits` bits stands for the number w - offset; 8 bits are signed. */
#define KL_PACKED_BLOCKS(X)                                                                        \
    X(Q4_0, 4, 8, KL_SCALES_PER_BLOCK, false)                                                      \
    X(Q4_1, 4, 0, KL_SCALES_PER_BLOCK, true)                                                       \
    X(Q5_0, 5, 16, KL_SCALES_PER_BLOCK, false)                                                     \
    X(Q5_1, 5, 0, KL_SCALES_PER_BLOCK, true)                                                       \
    X(Q8_0, 8, 0, KL_SCALES_PER_BLOCK, false)                                                      \
    X(Q8_HIGH, 5, 16, KL_SCALES_PER_BLOCK, false)                                                  \
    X(Q4_K, 4, 0, KL_SCALES_U8, true)                                                              \
    X(Q5_K, 5, 0, KL_SCALES_U8, true)                                                              \
    X(Q6_K, 6, 32, KL_SCALES_HALVES, false)

/* Bytes of one float of a type of KL_FLOAT_TYPES. */
INLINE size_t kl_float_bytes(enum kl_quant type)
{
    return type == KL_F32 ? KL_F32_BYTES : KL_F16_BYTES;
}

/* The parts of one type, constants after inlining; 0 for a type that is not in KL_PACKED_BLOCKS. */
INLINE unsigned kl_packed_bits(enum kl_quant type)
{
#define BITS_OF(NAME, bits, offset, scales, has_min) type == KL_##NAME ? bits:
    return KL_PACKED_BLOCKS(BITS_OF) 0;
#undef BITS_OF
}

INLINE int kl_packed_offset(enum kl_quant type)
{
#define OFFSET_OF(NAME, bits, offset, scales, has_min) type == KL_##NAME ? offset:
    return KL_PACKED_BLOCKS(OFFSET_OF) 0;
#undef OFFSET_OF
}

INLINE enum kl_scales kl_packed_scales(enum kl_quant type)
{
#define SCALES_OF(NAME, bits, offset, scales, has_min) type == KL_##NAME ? scales:
    return KL_PACKED_BLOCKS(SCALES_OF) KL_SCALES_PER_BLOCK;
#undef SCALES_OF
}

/* One block of 8 rows x 32 columns; offsets are bytes from its start, 0 where a type lacks a part.
 */
struct kl_layout {
    unsigned super_blocks; /* blocks that share a header: 8 for K types, else 1 */
    unsigned header_bytes; /* in front of every super_blocks blocks */
    unsigned weights;      /* offset of the lower 4 bits, or of all 8; the scales are before them */
    unsigned upper;        /* offset of the bits above the lower 4 */
    unsigned block_bytes;
    unsigned tail_bytes; /* behind the blocks of a group */
    unsigned bits;
    enum kl_scales scales;
    bool has_min;
};

INLINE struct kl_layout kl_block_layout(unsigned bits, enum kl_scales scales, bool has_min)
{
    const unsigned d_and_m = has_min ? 2 * KL_LANES * 2 : KL_LANES * 2;
    struct kl_layout l = {
        .super_blocks = 1, .weights = d_and_m, .bits = bits, .scales = scales, .has_min = has_min};
    if (scales != KL_SCALES_PER_BLOCK) {
        l.super_blocks = KL_SUPER_BLOCK / KL_BLOCK;
        l.header_bytes = d_and_m;
        l.weights = 2 * KL_LANES;
    }
    if (bits == 5 || bits == 6)
        l.upper = l.weights + KL_LANES * KL_BLOCK / 2;
    l.block_bytes = l.weights + KL_LANES * KL_BLOCK * bits / 8;
    return l;
}

INLINE struct kl_layout kl_layout(enum kl_quant type)
{
    struct kl_layout l = {0};
    switch (type) {
#define KL_FLOATS(NAME, name, id, numbers, bytes) case KL_##NAME:
        KL_FLOAT_TYPES(KL_FLOATS)
        l.super_blocks = 1;
        l.block_bytes = (unsigned)(KL_LANES * KL_BLOCK * kl_float_bytes(type));
        break;
#undef KL_FLOATS
#define KL_BLOCKS(NAME, bits, offset, scales, has_min)                                             \
    case KL_##NAME:                                                                                \
        l = kl_block_layout(bits, scales, has_min);                                                \
        break;
        KL_PACKED_BLOCKS(KL_BLOCKS)
#undef KL_BLOCKS
    case KL_Q8_LOW:
        l.super_blocks = 1;
        l.block_bytes = KL_LANES * KL_BLOCK * 3 / 8;
        break;
    }
    if (type == KL_Q8_HIGH)
        l.tail_bytes = KL_LANES * sizeof(float);
    return l;
}

/* Bytes of a group of `blocks` whole blocks. */
INLINE size_t kl_layout_bytes(struct kl_layout l, size_t blocks)
{
    return blocks / l.super_blocks * l.header_bytes + blocks * l.block_bytes + l.tail_bytes;
}

/* Where block b of a packed group begins, and the header of its super-block. */
INLINE const uint8_t *kl_layout_block(struct kl_layout l, const uint8_t *group, size_t b,
                                      const uint8_t **header)
{
    size_t super = b / l.super_blocks;
    *header = group + super * (l.header_bytes + (size_t)l.super_blocks * l.block_bytes);
    return *header + l.header_bytes + (b % l.super_blocks) * l.block_bytes;
}

#endif
