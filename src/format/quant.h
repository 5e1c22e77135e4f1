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
 * No kernel changes as long as the layout is made of parts that another type has: 4, 5, 6 or 8
 * bits, a constant offset or a minimum, one of the kinds of scales. A new part is written once for
 * each family of tiers, in scalar_matmul.c, avx2_blocks.h and neon_products.h.
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
 * minimum (f16), factors of the K types, upper bits, lower 4 or all 8 bits. In Q6_K the order is
 * lower bits, upper bits, factors, scale. */
#define KL_BLOCK_TYPES(X)                                                                          \
    X(Q4_0, q4_0, 2, KL_BLOCK, 2 + 16)                                                             \
    X(Q4_1, q4_1, 3, KL_BLOCK, 2 + 2 + 16)                                                         \
    X(Q5_0, q5_0, 6, KL_BLOCK, 2 + 4 + 16)                                                         \
    X(Q5_1, q5_1, 7, KL_BLOCK, 2 + 2 + 4 + 16)                                                     \
    X(Q8_0, q8_0, 8, KL_BLOCK, 2 + 32)                                                             \
    X(Q4_K, q4_k, 12, KL_SUPER_BLOCK, 2 + 2 + 12 + 128)                                            \
    X(Q5_K, q5_k, 13, KL_SUPER_BLOCK, 2 + 2 + 12 + 32 + 128)                                       \
    X(Q6_K, q6_k, 14, KL_SUPER_BLOCK, 128 + 64 + 16 + 2)

/* All types that a file may hold. */
#define KL_QUANT_TYPES(X) KL_FLOAT_TYPES(X) KL_BLOCK_TYPES(X)

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

/* The type with an id; NULL if there is none. */
const struct kl_quant_type *kl_quant_type(uint32_t id);

/* "F32, F16, ..." for error texts. */
const char *kl_quant_names(void);

/* IEEE half precision and bfloat16 to float: exact, NaN and subnormals included. */
float kl_f16_to_f32(uint16_t half);
uint16_t kl_f32_to_f16(float value); /* rounds to nearest even */
float kl_bf16_to_f32(uint16_t value);

#endif
