/*
 * The packed layout of a weight matrix, which the matmul kernels of every tier read, and the
 * functions that pack. They own and allocate nothing; any thread may call them. They do not read or
 * write files: model/weights.c does.
 *
 * KL_LANES rows are interleaved into a group, so that one broadcast of 4 activations meets 8 rows
 * and no horizontal sum is needed. The layout is lossless: it
 * holds the integers and scales of the file, in another order.
 * A group is a run of blocks of 8 rows x 32 columns (x 256 for K types, whose shared scales stand
 * in front). A block has:
 *   scales   [8] f16 (d), and [8] f16 (m) where the type has a minimum; super-blocks: the 8-bit
 *            factors of d and m (enum kl_scales of kernels/layout.h)
 *   bits     of weights, from the lowest on, in planes of
 *     nibbles  4 x 32 bytes: byte 4r+j of vector v holds row r, columns 8v+j (low) and 8v+4+j
 * (high) pairs    2 x 32 bytes: two bits of row r, columns 16h+4i+j, are bits 2i of byte 4r+j of
 * vector h bits     32 bytes: bit g of byte 4r+j is that of row r, column 4g+j bytes    8 x 32
 * bytes: byte 4r+j of vector g holds row r, column 4g+j 2 bits are pairs, 3 pairs and bits, 4
 * nibbles, 5 nibbles and bits, 6 nibbles and pairs floats   [32][8]: column by column, 8 rows each,
 * in the file's own float type Rows past the end of the matrix are zero (scale 0). Types with a
 * table of 16 numbers keep their 4-bit codes; those of IQ3, of which a file has an index for four
 * numbers, get them here.
 *
 * A Q8_0 matrix of which only the largest products matter (the output head) may be packed as two:
 * KL_Q8_HIGH with the upper 5 bits of w + 128 = 8 * high + low, laid out as Q5_0 is, and KL_Q8_LOW
 * with the lower 3, without scales. The upper bits alone give a product with an error of at most
 * residual * |x|, see kl_packed_residuals(), so most rows need not be computed with all bits.
 */
#ifndef KL_KERNELS_PACKING_H
#define KL_KERNELS_PACKING_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/quant.h"

#define KL_LANES         8
#define KL_PACKING_TYPES 36 /* one more than the largest enum kl_quant */

/* Part of the key of the file of packed weights; to be raised whenever a layout changes. */
#define KL_PACKING_VERSION 2

/* Bytes of one packed group of k columns; 0 if the type cannot be packed or k is not a multiple of
 * its block (32, or 256 for K types). */
size_t kl_packed_group_bytes(enum kl_quant type, size_t k);

/* Packs n_rows (1..KL_LANES) consecutive rows of k numbers into one group. rows: [n_rows, k] in the
 * layout of files (Q8_0 for KL_Q8_HIGH and KL_Q8_LOW); out: kl_packed_group_bytes() bytes. */
void kl_pack_group(enum kl_quant type, const uint8_t *rows, size_t n_rows, size_t k, uint8_t *out);

/* The residuals of a group of KL_Q8_HIGH: [KL_LANES] f32 behind its blocks, one for each row r.
 * With y the product by all bits (matmul_halves) and h the one by the upper bits (matmul), |y[r] -
 * h[r]| <= residual[r] * sqrt(sum_b (scale_b * |q_b|)^2), all rounding included. */
const float *kl_packed_residuals(const uint8_t *group, size_t k);

#endif
