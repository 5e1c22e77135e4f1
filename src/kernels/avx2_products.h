/*
 * Products by vpmaddubsw, for the tiers without VNNI: SSE4.1, AVX2 and AVX-512.
 *
 * 8 rows are 8 lanes. For a group of 4 columns, 32 bytes hold 4 weights of each row; one 4-byte
 * broadcast of activations meets them in vpmaddubsw (unsigned weight x signed activation, pairs
 * added in int16), and sums stay in int16 as long as they cannot overflow:
 *   4-bit weights: 15 * 127 * 2 = 3810 a step, 8 steps = 30480
 *   5-bit weights: 31 * 127 * 2 = 7874 a step, 4 steps = 31496
 *   6-bit weights: 63 * 127 * 2 = 16002 a step, 2 steps = 32004      (all below 32767)
 *   of the books, IQ3_S has 5 bits, and IQ3_XXS, with 62, has 6
 * then vpmaddwd widens to int32 (with the factors of half blocks as its other operand). Weights are
 * kept unsigned; their offset (8, 16, 32) leaves through the sums of the activations. Q8_0 and the
 * numbers of IQ4 are signed: |w| * sign(x, w), 128 * 127 * 2 = 32512, widened at each step.
 *
 * This header has the steps that the tiers share, and the products of a few tokens, in 256 bits.
 */
#include "kernels/avx2_blocks.h"

/* The offset of the weights times the sums of the activations, negated. */
INLINE __m256i offset_of(enum kl_quant type, struct block_scales s, const struct kl_int8_block *x)
{
    const int offset = kl_packed_offset(type);
    if (is_signed(type) || offset == 0)
        return _mm256_setzero_si256();
    if (has_halves(type)) {
        __m256i scaled = _mm256_madd_epi16(broadcast4(x->half_sum), s.both);
        scaled = _mm256_slli_epi32(scaled, __builtin_ctz((unsigned)offset));
        return _mm256_sub_epi32(_mm256_setzero_si256(), scaled);
    }
    /* KL_Q8_HIGH: twice 8 * (u - 16) + 3.5 = 16 u - 249 */
    const int factor = type == KL_Q8_HIGH ? 249 : offset;
    return _mm256_madd_epi16(broadcast4(x->half_sum), _mm256_set1_epi16((short)-factor));
}

/* The number of steps of 4 columns that may be added up in int16 (see the top of this file). */
INLINE int steps_in_16_bits(enum kl_quant type)
{
    const int most = is_signed(type) ? 1 : INT16_MAX / (2 * 127 * kl_packed_largest(type));
    return most >= 8 && !has_halves(type) ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

/* 4 columns of one token. w_signed: only for signed weights, whose |w| is w. */
INLINE __m256i multiply(enum kl_quant type, __m256i w, __m256i w_signed, const int8_t *q)
{
    __m256i x = broadcast4(q);
    if (is_signed(type))
        x = _mm256_sign_epi8(x, w_signed);
    return _mm256_maddubs_epi16(w, x);
}

INLINE __m256i widen(enum kl_quant type, struct block_scales s, __m256i sum16, int g)
{
    if (has_halves(type))
        return _mm256_madd_epi16(sum16, g < 4 ? s.half0 : s.half1);
    return _mm256_madd_epi16(sum16, _mm256_set1_epi16(type == KL_Q8_HIGH ? 16 : 1));
}

/* A block's part of the outputs of a few tokens, unpacked in registers. */
INLINE void add_few(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                    const uint8_t *block, const uint8_t *low, const struct kl_activations *x,
                    size_t b, const int width, lanes sum[MOST_FEW])
{
    const int steps = steps_in_16_bits(type);
    size_t n_blocks = x->k / KL_BLOCK;
    struct block_scales s = load_scales(type, l, header, block);
    __m256i dot[MOST_FEW], sum16[MOST_FEW];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m256i columns = load_columns(type, l, block, low, g);
        __m256i size = is_signed(type) ? _mm256_abs_epi8(columns) : columns;
#pragma GCC unroll 8
        for (int i = 0; i < width; i++) {
            __m256i p =
                multiply(type, size, columns, x->blocks[(size_t)i * n_blocks + b].q + 4 * g);
            sum16[i] = g % steps == 0 ? p : _mm256_add_epi16(sum16[i], p);
            KEEP_ORDER(sum16[i]);
            if (g % steps != steps - 1)
                continue;
            __m256i wide = widen(type, s, sum16[i], g);
            dot[i] = g == steps - 1 ? wide : _mm256_add_epi32(dot[i], wide);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < width; i++) {
        const struct kl_int8_block *of_token = &x->blocks[(size_t)i * n_blocks + b];
        __m256i exact = _mm256_add_epi32(dot[i], offset_of(type, s, of_token));
        sum[i] = add_block(l, s, exact, of_token, sum[i]);
    }
}
