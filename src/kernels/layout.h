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

/* The scales of 8 rows; d and m are [8] f16 each, m only where the type has a minimum. All but the
 * first kind have d and m in the header, and in front of each block the factors of both. */
enum kl_scales {
    KL_SCALES_PER_BLOCK, /* d and m in front of each block */
    KL_SCALES_U8,        /* [8] uint8 factors of d and [8] of m: Q4_K, Q5_K */
    KL_SCALES_S8,        /* [8] int8 factors of d: the IQ types with super-blocks */
    KL_SCALES_HALVES,    /* [8] int8 factors for columns 0..15, [8] for 16..31: Q3_K, Q6_K */
    KL_SCALES_NIBBLES    /* the same, each with the factor of d in the low nibble, unsigned, and
                            that of m in the high one: Q2_K */
};

/* The weights that the 16 codes of a type stand for. */
static const uint8_t kl_book_iq4[16] = {KL_IQ4_BOOK};
static const uint8_t kl_book_iq3_s[16] = {KL_IQ3_S_BOOK};
static const uint8_t kl_book_iq3_xxs[16] = {KL_IQ3_XXS_BOOK};

/* The parts of which the packed form of a type is made: X(NAME, bits, offset, scales, has_min,
 * book). An unsigned weight w of `bits` bits, or, where there is a book, w = book[code] with codes
 * of `bits` bits, stands for the number w - offset; 8 bits are signed. */
#define KL_PACKED_BLOCKS(X)                                                                        \
    X(Q4_0, 4, 8, KL_SCALES_PER_BLOCK, false, NULL)                                                \
    X(Q4_1, 4, 0, KL_SCALES_PER_BLOCK, true, NULL)                                                 \
    X(Q5_0, 5, 16, KL_SCALES_PER_BLOCK, false, NULL)                                               \
    X(Q5_1, 5, 0, KL_SCALES_PER_BLOCK, true, NULL)                                                 \
    X(Q8_0, 8, 0, KL_SCALES_PER_BLOCK, false, NULL)                                                \
    X(Q8_HIGH, 5, 16, KL_SCALES_PER_BLOCK, false, NULL)                                            \
    X(Q2_K, 2, 0, KL_SCALES_NIBBLES, true, NULL)                                                   \
    X(Q3_K, 3, 4, KL_SCALES_HALVES, false, NULL)                                                   \
    X(Q4_K, 4, 0, KL_SCALES_U8, true, NULL)                                                        \
    X(Q5_K, 5, 0, KL_SCALES_U8, true, NULL)                                                        \
    X(Q6_K, 6, 32, KL_SCALES_HALVES, false, NULL)                                                  \
    X(IQ3_XXS, 4, KL_IQ3_XXS_OFFSET, KL_SCALES_S8, false, kl_book_iq3_xxs)                         \
    X(IQ3_S, 4, KL_IQ3_S_OFFSET, KL_SCALES_S8, false, kl_book_iq3_s)                               \
    X(IQ4_XS, 4, KL_IQ4_OFFSET, KL_SCALES_S8, false, kl_book_iq4)                                  \
    X(IQ4_NL, 4, KL_IQ4_OFFSET, KL_SCALES_PER_BLOCK, false, kl_book_iq4)

/* Bytes of one float of a type of KL_FLOAT_TYPES. */
INLINE size_t kl_float_bytes(enum kl_quant type)
{
    return type == KL_F32 ? KL_F32_BYTES : KL_F16_BYTES;
}

/* The parts of one type, constants after inlining; 0 for a type that is not in KL_PACKED_BLOCKS. */
INLINE unsigned kl_packed_bits(enum kl_quant type)
{
#define BITS_OF(NAME, bits, offset, scales, has_min, book) type == KL_##NAME ? bits:
    return KL_PACKED_BLOCKS(BITS_OF) 0;
#undef BITS_OF
}

INLINE int kl_packed_offset(enum kl_quant type)
{
#define OFFSET_OF(NAME, bits, offset, scales, has_min, book) type == KL_##NAME ? offset:
    return KL_PACKED_BLOCKS(OFFSET_OF) 0;
#undef OFFSET_OF
}

INLINE enum kl_scales kl_packed_scales(enum kl_quant type)
{
#define SCALES_OF(NAME, bits, offset, scales, has_min, book) type == KL_##NAME ? scales:
    return KL_PACKED_BLOCKS(SCALES_OF) KL_SCALES_PER_BLOCK;
#undef SCALES_OF
}

/* NULL: the weights are their own codes. */
INLINE const uint8_t *kl_packed_book(enum kl_quant type)
{
#define BOOK_OF(NAME, bits, offset, scales, has_min, book) type == KL_##NAME ? book:
    return KL_PACKED_BLOCKS(BOOK_OF) NULL;
#undef BOOK_OF
}

/* The largest weight, where weights are unsigned. */
INLINE int kl_packed_largest(enum kl_quant type)
{
    const uint8_t *book = kl_packed_book(type);
    return book != NULL ? book[15] : (1 << kl_packed_bits(type)) - 1;
}

/* Whether the weights are twice the numbers, so that d counts half: KL_Q8_HIGH, and IQ3_XXS, which
 * has half numbers in its book. */
INLINE bool kl_is_doubled(enum kl_quant type)
{
    return type == KL_Q8_HIGH || type == KL_IQ3_XXS;
}

/* One block of 8 rows x 32 columns; offsets are bytes from its start, 0 where a type lacks a part.
 */
struct kl_layout {
    unsigned super_blocks; /* blocks that share a header: 8 of a super-block, else 1 */
    unsigned header_bytes; /* in front of every super_blocks blocks */
    unsigned weights;      /* offset of the lower 2 or 4 bits, or of all 8; the scales are before */
    unsigned upper;        /* offset of the bits above the lower ones */
    unsigned block_bytes;
    unsigned tail_bytes; /* behind the blocks of a group */
    unsigned bits;
    enum kl_scales scales;
    bool has_min;
};

/* The upper and lower bits of weights, behind `weights` bytes of scales. */
INLINE struct kl_layout kl_weights_layout(unsigned bits, unsigned weights)
{
    const unsigned lower = bits == 8 ? 8 : bits < 4 ? 2 : 4, bit = KL_LANES * KL_BLOCK / 8;
    struct kl_layout l = {.super_blocks = 1, .weights = weights, .bits = bits};
    if (bits > lower)
        l.upper = weights + lower * bit;
    l.block_bytes = weights + bits * bit;
    return l;
}

INLINE struct kl_layout kl_block_layout(unsigned bits, enum kl_scales scales, bool has_min)
{
    const unsigned d_and_m = has_min ? 2 * KL_LANES * 2 : KL_LANES * 2;
    const unsigned factors = scales == KL_SCALES_S8 ? KL_LANES : 2 * KL_LANES;
    const bool per_block = scales == KL_SCALES_PER_BLOCK;
    struct kl_layout l = kl_weights_layout(bits, per_block ? d_and_m : factors);
    if (!per_block) {
        l.super_blocks = KL_SUPER_BLOCK / KL_BLOCK;
        l.header_bytes = d_and_m;
    }
    l.scales = scales;
    l.has_min = has_min;
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
#define KL_BLOCKS(NAME, bits, offset, scales, has_min, book)                                       \
    case KL_##NAME:                                                                                \
        l = kl_block_layout(bits, scales, has_min);                                                \
        break;
        KL_PACKED_BLOCKS(KL_BLOCKS)
#undef KL_BLOCKS
    case KL_Q8_LOW:
        l = kl_weights_layout(3, 0);
        break;
#define KL_TERNARY(NAME, name, id, numbers, bytes) case KL_##NAME:
        KL_TERNARY_TYPES(KL_TERNARY)
        l = kl_block_layout(kl_packed_bits(KL_Q2_K), kl_packed_scales(KL_Q2_K), true);
        break;
#undef KL_TERNARY
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
