/*
 * Products by vpdpbusd, for the tiers that have it: four unsigned bytes times four signed ones,
 * added to an int32, which cannot overflow here. All weights are unsigned (signed ones with 128
 * added). A sum begins with the offset of the weights times the sum of the activations, negated.
 * This header has the steps that both tiers share: the beginning and the end of the sum of a block,
 * and the products of a few tokens, in 256 bits.
 *
 * Included after VNNI_DPBUSD and VNNI_DPWSSD name the tier's own form of the 256-bit instructions:
 * AVX-VNNI's and AVX-512's have different encodings.
 */
#include "kernels/avx2_blocks.h"

/* The offset of the unsigned weights, which is subtracted from every one of them. */
INLINE int offset_in_sum(enum kl_quant type)
{
    if (is_signed(type))
        return 128;
    return type == KL_Q8_HIGH ? 0 : kl_packed_offset(type); /* see whole_sum */
}

/* Where a type has factors per 16 columns, there is a sum for each half of a block. */
INLINE int sums_of(enum kl_quant type)
{
    return has_halves(type) ? 2 : 1;
}

/* The factors of a block's two sums of 16 activations, as a pair of int16. */
INLINE int32_t offset_pair(enum kl_quant type, int part)
{
    uint32_t factor = (uint32_t)-offset_in_sum(type) & 0xFFFFu;
    if (has_halves(type))
        return (int32_t)(part == 0 ? factor : factor << 16);
    return (int32_t)(factor | factor << 16);
}

/* KL_Q8_HIGH: twice 8 * (u - 16) + 3.5 = 16 u - 249 */
#define HIGH_SHIFT 4
#define HIGH_PAIR  ((int32_t)((uint32_t)-249 << 16 | ((uint32_t)-249 & 0xFFFFu)))

/* Unsigned weights of 4 columns of 8 rows. */
INLINE __m256i load_unsigned(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                             const uint8_t *low, int g)
{
    if (kl_packed_book(type) != NULL)
        return look_up(type, load_bits(l, block, g), false);
    __m256i columns = load_columns(type, l, block, low, g);
    return is_signed(type) ? _mm256_xor_si256(columns, _mm256_set1_epi8(-128)) : columns;
}

/* The factors of 16 columns as floats. */
INLINE __m256 half_scales(struct kl_layout l, const uint8_t *block, int half)
{
    return _mm256_cvtepi32_ps(load_factors(l, block, half, false));
}

INLINE __m256i begin_sum(enum kl_quant type, const struct kl_int8_block *x, int part)
{
    __m256i zero = _mm256_setzero_si256();
    if (offset_in_sum(type) == 0)
        return zero;
    return VNNI_DPWSSD(zero, broadcast4(x->half_sum), _mm256_set1_epi32(offset_pair(type, part)));
}

/* A block's sum as floats. half: the factors of halves; the size of every term is at most
 * 32 * 127 * 16 * 128 (Q6_K), both together below 2^24, so floats are exact; adding to +0 keeps an
 * empty sum from being -0, which no integer is. */
INLINE __m256 whole_sum(enum kl_quant type, const __m256i *sum, const __m256 *half,
                        const struct kl_int8_block *x)
{
    if (has_halves(type)) {
        __m256 first = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[0]), half[0], _mm256_setzero_ps());
        return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[1]), half[1], first);
    }
    __m256i whole = sum[0];
    if (type == KL_Q8_HIGH) {
        whole = _mm256_slli_epi32(whole, HIGH_SHIFT);
        whole = VNNI_DPWSSD(whole, broadcast4(x->half_sum), _mm256_set1_epi32(HIGH_PAIR));
    }
    return _mm256_cvtepi32_ps(whole);
}

/* A block's part of the outputs of a few tokens, unpacked in registers. */
INLINE void add_few(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                    const uint8_t *block, const uint8_t *low, const struct kl_activations *x,
                    size_t b, const int width, lanes sum[MOST_FEW])
{
    size_t n_blocks = x->k / KL_BLOCK;
    struct block_scales s = load_scales(type, l, header, block);
    __m256i dot[MOST_FEW][2];
#pragma GCC unroll 8
    for (int i = 0; i < width; i++)
#pragma GCC unroll 2
        for (int part = 0; part < sums_of(type); part++)
            dot[i][part] = begin_sum(type, &x->blocks[(size_t)i * n_blocks + b], part);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m256i columns = load_unsigned(type, l, block, low, g);
        const int part = sums_of(type) == 2 ? g / 4 : 0;
#pragma GCC unroll 8
        for (int i = 0; i < width; i++) {
            __m256i four = broadcast4(x->blocks[(size_t)i * n_blocks + b].q + 4 * g);
            dot[i][part] = VNNI_DPBUSD(dot[i][part], columns, four);
        }
    }
    const __m256 half[2] = {half_scales(l, block, 0), half_scales(l, block, 1)};
#pragma GCC unroll 8
    for (int i = 0; i < width; i++) {
        const struct kl_int8_block *of_token = &x->blocks[(size_t)i * n_blocks + b];
        __m256 exact = whole_sum(type, dot[i], half, of_token);
        sum[i] = add_floats(l, s, exact, of_token, sum[i]);
    }
}
