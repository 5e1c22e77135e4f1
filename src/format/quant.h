/*
 * The number types a weight may be stored in: one row each in the table of quant.c.
 *
 * A row of a tensor is cut into blocks of `block_elements` numbers, each stored in `block_bytes`
 * bytes. Layouts and arithmetic are those of ggml (ggml-common.h, ggml-quants.c) and of the Python
 * package gguf (gguf/quants.py), which the tests compare with bit by bit. Knows nothing of files.
 */
#ifndef KL_FORMAT_QUANT_H
#define KL_FORMAT_QUANT_H

#include <stddef.h>
#include <stdint.h>

/* The values are the ids that GGUF files hold (enum ggml_type); the last two are halves of a Q8_0
 * matrix in our own packed layout (kernels/packing.h), have no row and are in no GGUF file. */
enum kl_quant {
    KL_F32 = 0,
    KL_F16 = 1,
    KL_Q4_0 = 2,
    KL_Q4_1 = 3,
    KL_Q5_0 = 6,
    KL_Q5_1 = 7,
    KL_Q8_0 = 8,
    KL_Q4_K = 12,
    KL_Q5_K = 13,
    KL_Q6_K = 14,
    KL_BF16 = 30,
    KL_Q8_HIGH = 31,
    KL_Q8_LOW = 32
};

struct kl_quant_type {
    enum kl_quant id;
    const char *name; /* as the field writes it: "Q4_K" */
    uint32_t block_elements;
    uint32_t block_bytes;
    /* blocks: n_blocks * block_bytes bytes, no alignment needed; out: [n_blocks * block_elements]
     * f32. Every operation is one IEEE float operation in the order gguf/quants.py does it. */
    void (*dequantize)(const void *blocks, size_t n_blocks, float *out);
};

/* NULL for an id that has no row. */
const struct kl_quant_type *kl_quant_type(uint32_t id);

/* "F32, F16, ..." for error texts. */
const char *kl_quant_names(void);

/* IEEE half and bfloat16 to float, exact, NaN and subnormals included. */
float kl_f16_to_f32(uint16_t half);
uint16_t kl_f32_to_f16(float value); /* round to nearest even */
float kl_bf16_to_f32(uint16_t value);

#endif
