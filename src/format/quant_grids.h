/*
 * The numbers of IQ3_XXS and IQ3_S, of which a file stores four at a time as the index of an entry
 * of a grid, and their signs. For the files that dequantise and pack; owns nothing, any thread may
 * call it.
 *
 * An entry has four 3-bit sizes; the grids are those of ggml (ggml-common.h, iq3xxs_grid and
 * iq3s_grid, MIT), whose bytes are replaced by their rank. A size and a sign together are one of 16
 * numbers, so that four bits can say what an index and signs say: a code, in the order of the
 * numbers (KL_IQ3_XXS_BOOK, KL_IQ3_S_BOOK of quant.h).
 */
#ifndef KL_FORMAT_QUANT_GRIDS_H
#define KL_FORMAT_QUANT_GRIDS_H

#include <stddef.h>
#include <stdint.h>

#include "format/quant.h"

/* Writes the codes of sub-block `sub` (0..7) of a super-block as files have it, and returns its
 * factor: the scale of the numbers is d * factor. Of IQ3_XXS, where the numbers are halves of
 * those of ggml, d * factor / 2. */
unsigned kl_iq3_xxs_codes(const uint8_t *block, size_t sub, uint8_t codes[KL_BLOCK]);
unsigned kl_iq3_s_codes(const uint8_t *block, size_t sub, uint8_t codes[KL_BLOCK]);

#endif
