/*
 * Matrix products of the AVX-512 tier, without VNNI (Skylake-X): AVX2's arithmetic, 16 rows x 8
 * tokens at a time. 8 sums in int16, 8 in int32 and 8 in floats fill 24 of the 32 registers, and a
 * step of 4 columns is one register of weights and 8 broadcasts, products and sums. One to four
 * tokens wait for memory, so 256 bits suffice for them.
 */
#include "kernels/avx2_products.h"

#include "kernels/avx512_blocks.h"

/* widen() for 16 rows. */
INLINE __m512i widen_pair(enum kl_quant type, const struct pair_scales *s, __m512i sum16, int g)
{
    if (has_halves(type))
        return _mm512_madd_epi16(sum16, g < 4 ? s->half0 : s->half1);
    return _mm512_madd_epi16(sum16, _mm512_set1_epi16(type == KL_Q8_HIGH ? 16 : 1));
}

/* offset_of() for 16 rows. */
INLINE __m512i offset_of_pair(enum kl_quant type, const struct pair_scales *s,
                              const struct kl_int8_block *x)
{
    const int offset = kl_packed_offset(type);
    if (is_signed(type) || offset == 0)
        return _mm512_setzero_si512();
    if (has_halves(type)) {
        __m512i scaled = _mm512_madd_epi16(broadcast_word(x->half_sum), s->both);
        scaled = _mm512_slli_epi32(scaled, (unsigned)__builtin_ctz((unsigned)offset));
        return _mm512_sub_epi32(_mm512_setzero_si512(), scaled);
    }
    return negated_offset(type, type == KL_Q8_HIGH ? 249 : offset, x, 0);
}

/* The integers of one block, exact as floats, for the tokens of a tile. There is no vpsignb in 512
 * bits: where a weight is negative, the activation is subtracted from zero. */
INLINE void tile_dots(enum kl_quant type, struct kl_layout l, const struct block_pair *at,
                      const struct pair_scales *s,
                      const struct kl_int8_block *const token[MOST_TILE], const int width,
                      __m512 exact[MOST_TILE])
{
    const bool with_sign = is_signed(type);
    const int steps = steps_in_16_bits(type);
    const __m512i zero = _mm512_setzero_si512();
    __m512i sum16[MOST_TILE], dot[MOST_TILE];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m512i columns = load_pair_columns(type, l, at, g, true);
        KEEP_ORDER_512(columns);
        __m512i size = with_sign ? _mm512_abs_epi8(columns) : columns;
        __mmask64 negative = with_sign ? _mm512_movepi8_mask(columns) : 0;
#pragma GCC unroll 8
        for (int i = 0; i < width; i++) {
            __m512i four = broadcast_word(token[i]->q + 4 * g);
            if (with_sign)
                four = _mm512_mask_sub_epi8(four, negative, zero, four);
            __m512i p = _mm512_maddubs_epi16(size, four);
            sum16[i] = g % steps == 0 ? p : _mm512_add_epi16(sum16[i], p);
            KEEP_ORDER_512(sum16[i]);
            if (g % steps != steps - 1)
                continue;
            __m512i wide = widen_pair(type, s, sum16[i], g);
            dot[i] = g == steps - 1 ? wide : _mm512_add_epi32(dot[i], wide);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < width; i++) {
        __m512i offset = offset_of_pair(type, s, token[i]);
        exact[i] = _mm512_cvtepi32_ps(_mm512_add_epi32(dot[i], offset));
    }
}

/* A token takes three registers: two sums of integers, and one of floats. */
INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return TILE_TOKENS;
}

#include "kernels/avx512_tile.h"

const struct kl_kernels kl_kernels_avx512 = TABLE_512("avx512");
