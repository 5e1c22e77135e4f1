/*
 * The number types in which a file may store weights: their blocks, and how to turn them into
 * floats. Owns nothing; every function may be called from any thread. Knows nothing of files, and
 * nothing of the packed layout that kernels read (kernels/packing.h).
 *
 * A row of a tensor is cut into blocks, each of which shares a scale. Layouts and arithmetic are
 * those of ggml (ggml-common.h, ggml-quants.c) and of the Python package gguf (gguf/quants.py),
 * which the tests compare with bit by bit.
 *
 * To add a type (the compiler or the linker reports each step that is missing):
 *   1. here: one row in KL_BLOCK_TYPES, from which the enum, the table of types, the texts, and the
 *      declarations, tables and checks of the kernels of every tier are made
 *   2. format/quant.c: dequantize_NAME(), the definition of its numbers
 *   3. kernels/layout.h: one row in KL_PACKED_BLOCKS, the parts of its packed layout
 *   4. kernels/packing.c: one case in read_block(), which takes a block out of the file's layout
 * No kernel changes as long as the layout is made of parts that another type has: 2 to 6 or 8 bits,
 * a book of 16 numbers, a constant offset or a minimum, one of the kinds of scales. A new part is
 * written once for each family of tiers, in scalar_matmul.c, avx2_blocks.h and neon_products.h.
 */
#ifndef KL_FORMAT_QUANT_H
#define KL_FORMAT_QUANT_H

#include <stddef.h>
#include <stdint.h>

/* Numbers in a block, and in a super-block of the K types, which has 8 blocks. */
#define KL_BLOCK       32
#define KL_SUPER_BLOCK 256

/* X(NAME, name, id, numbers, bytes): id is the one in GGUF files (enum ggml_type); `bytes` bytes
 * hold `numbers` numbers. Floats are blocks of one. */
#define KL_FLOAT_TYPES(X)                                                                          \
    X(F32, f32, 0, 1, 4)                                                                           \
    X(F16, f16, 1, 1, 2)                                                                           \
    X(BF16, bf16, 30, 1, 2)

/* The terms of `bytes` are the parts of a block in the order in which they are stored: scale (f16),
 * minimum (f16), factors of the K types, upper bits, lower 4 or all 8 bits. In the smaller K types
 * the scale is last: Q2_K has factors, bits, scale, minimum; Q3_K upper bits, lower bits, factors,
 * scale; Q6_K lower bits, upper bits, factors, scale. In IQ3 the indices of grids are in the place
 * of bits, and behind them are signs and factors (quant_grids.h). */
#define KL_BLOCK_TYPES(X)                                                                          \
    X(Q4_0, q4_0, 2, KL_BLOCK, 2 + 16)                                                             \
    X(Q4_1, q4_1, 3, KL_BLOCK, 2 + 2 + 16)                                                         \
    X(Q5_0, q5_0, 6, KL_BLOCK, 2 + 4 + 16)                                                         \
    X(Q5_1, q5_1, 7, KL_BLOCK, 2 + 2 + 4 + 16)                                                     \
    X(Q8_0, q8_0, 8, KL_BLOCK, 2 + 32)                                                             \
    X(Q2_K, q2_k, 10, KL_SUPER_BLOCK, 16 + 64 + 2 + 2)                                             \
    X(Q3_K, q3_k, 11, KL_SUPER_BLOCK, 32 + 64 + 12 + 2)                                            \
    X(Q4_K, q4_k, 12, KL_SUPER_BLOCK, 2 + 2 + 12 + 128)                                            \
    X(Q5_K, q5_k, 13, KL_SUPER_BLOCK, 2 + 2 + 12 + 32 + 128)                                       \
    X(Q6_K, q6_k, 14, KL_SUPER_BLOCK, 128 + 64 + 16 + 2)                                           \
    X(IQ3_XXS, iq3_xxs, 18, KL_SUPER_BLOCK, 2 + 64 + 32)                                           \
    X(IQ3_S, iq3_s, 21, KL_SUPER_BLOCK, 2 + 64 + 8 + 32 + 4)                                       \
    X(IQ4_XS, iq4_xs, 23, KL_SUPER_BLOCK, 2 + 2 + 4 + 128)                                         \
    X(IQ4_NL, iq4_nl, 20, KL_BLOCK, 2 + 16)

/* Types whose numbers are -1, 0 and 1 times the scale of a super-block. They are packed as Q2_K and
 * have no kernel of their own. */
#define KL_TERNARY_TYPES(X)                                                                        \
    X(TQ1_0, tq1_0, 34, KL_SUPER_BLOCK, 48 + 4 + 2)                                                \
    X(TQ2_0, tq2_0, 35, KL_SUPER_BLOCK, 64 + 2)

/* All types that a file may hold. */
#define KL_QUANT_TYPES(X) KL_FLOAT_TYPES(X) KL_BLOCK_TYPES(X) KL_TERNARY_TYPES(X)

/* The numbers that the 16 codes of IQ4_NL and IQ4_XS stand for, each plus KL_IQ4_OFFSET: -127 and
 * -104 to 113. Those of IQ3_S: -15 and -13 to 15. The halves of those of IQ3_XXS: -31 and -26
 * to 31. */
enum { KL_IQ4_OFFSET = 128, KL_IQ3_S_OFFSET = 15, KL_IQ3_XXS_OFFSET = 31 };
#define KL_IQ4_BOOK     1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241
#define KL_IQ3_S_BOOK   0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define KL_IQ3_XXS_BOOK 0, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 62

/* KL_Q4_0 = 2, ...: as in GGUF files. KL_Q8_HIGH and KL_Q8_LOW are the parts of a Q8_0 matrix in
 * the packed layout (kernels/packing.h); no file holds them, and they have no struct kl_quant_type.
 */
enum kl_quant {
    KL_Q8_HIGH = 31,
    KL_Q8_LOW = 32,
#define KL_QUANT_ID(NAME, name, id, numbers, bytes) KL_##NAME = (id),
    KL_QUANT_TYPES(KL_QUANT_ID)
#undef KL_QUANT_ID
};

/* KL_Q4_0_BYTES, ...: bytes of a block. */
enum {
#define KL_QUANT_BYTES(NAME, name, id, numbers, bytes) KL_##NAME##_BYTES = (bytes),
    KL_QUANT_TYPES(KL_QUANT_BYTES)
#undef KL_QUANT_BYTES
};

struct kl_quant_type {
    enum kl_quant id;
    const char *name; /* as llama.cpp writes it: "Q4_K" */
    uint32_t block_elements;
    uint32_t block_bytes;
    /* blocks: n_blocks * block_bytes bytes, no alignment needed; out: [n_blocks * block_elements]
     * f32. Every operation is one IEEE float operation in the order gguf/quants.py does it. */
    void (*dequantize)(const void *blocks, size_t n_blocks, float *out);
};

/* Number i of a super-block of one of KL_TERNARY_TYPES, plus one. TQ1_0 has five digits to the base
 * 3 in a byte, as the upper bits of a fraction: times 3 to the power of k, modulo 256, it begins
 * with digit k. */
unsigned kl_ternary_digit(enum kl_quant type, const uint8_t *block, size_t i);

/* The type with an id; NULL if there is none. */
const struct kl_quant_type *kl_quant_type(uint32_t id);

/* "F32, F16, ..." for error texts. */
const char *kl_quant_names(void);

/* IEEE half precision and bfloat16 to float: exact, NaN and subnormals included. */
float kl_f16_to_f32(uint16_t half);
uint16_t kl_f32_to_f16(float value); /* rounds to nearest even */
float kl_bf16_to_f32(uint16_t value);

#endif
