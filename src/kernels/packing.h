/*
 * The packed layout of a weight matrix: what the matmul kernels of every tier read.
 *
 * KL_LANES rows are interleaved into a group, so that one broadcast of 4 activations meets 8 rows
 * and no horizontal sum is needed. Lossless: the integers and scales of the file, in another order.
 * A group is a run of blocks of 8 rows x 32 columns (x 256 for K types, whose shared scales stand
 * in front). Within a block:
 *   scales   [8] f16 (d), and [8] f16 (m) where the type has a minimum; K types: 8-bit scales
 *   nibbles  4 x 32 bytes: byte 4r+j of vector v holds row r, columns 8v+j (low) and 8v+4+j (high)
 *   bits     32 bytes: bit g of byte 4r+j is the fifth bit of row r, column 4g+j (5-bit types);
 *            Q6_K: 2 x 32 bytes: the two upper bits, columns 16h+4i+j at bits 2i of vector h
 *   Q8_0     8 x 32 bytes instead: byte 4r+j of vector g holds row r, column 4g+j
 *   floats   [32][8]: column by column, 8 rows each, in the file's own float type
 * Rows past the end of the matrix are zero (scale 0).
 */
#ifndef KL_KERNELS_PACKING_H
#define KL_KERNELS_PACKING_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/quant.h"

#define KL_LANES         8
#define KL_BLOCK         32
#define KL_PACKING_TYPES 31 /* one more than the largest enum kl_quant */

/* Changes whenever a layout does: part of the packed file's key. */
#define KL_PACKING_VERSION 1

/* Bytes of one packed group of k columns; 0 if the type cannot be packed or k does not divide into
 * its blocks (32, or 256 for K types). */
size_t kl_packed_group_bytes(enum kl_quant type, size_t k);

/* Packs n_rows (1..8) consecutive rows of k numbers, as the file holds them, into one group. */
void kl_pack_group(enum kl_quant type, const uint8_t *rows, size_t n_rows, size_t k, uint8_t *out);

#endif
