/*
 * Matrix products of the AVX-512 tier, without VNNI (Skylake-X): AVX2's arithmetic, 16 rows x 8
 * tokens at a time. 8 sums in int16, 8 in int32 and 8 in floats fill 24 of the 32 registers, and a
 * step of 4 columns is one load of weights and 8 broadcasts, products and sums. One to four tokens
 * wait for memory, so 256 bits suffice for them.
 */
#include "kernels/avx2_products.h"

/* The offset that a tile subtracts before the scale is known; the sums of half blocks include their
 * factors. */
INLINE int offset_in_sum(enum kl_quant type)
{
    const bool later = type == KL_Q8_HIGH || has_halves(type) || is_signed(type);
    return later ? 0 : kl_packed_offset(type);
}

#include "kernels/avx512_blocks.h"

/* A block of both groups of a panel, in scratch. */
struct panel_block {
    uint8_t q[8][64]; /* or int8 */
    float d[16], m[16];
    int16_t half0[32], half1[32], both[32];
};
_Static_assert(sizeof(struct panel_block) == KL_PANEL_GROUPS * KL_PANEL_BYTES, "KL_PANEL_BYTES");

INLINE void unpack_block(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                         const uint8_t *block, const uint8_t *low, void *panel, size_t group,
                         size_t b)
{
    struct panel_block *out = (struct panel_block *)panel + b;
    struct block_scales s = load_scales(type, l, header, block);
    size_t lane = group * KL_LANES;
    _mm256_storeu_ps(out->d + lane, s.d);
    if (l.has_min)
        _mm256_storeu_ps(out->m + lane, s.m);
    if (has_halves(type)) {
        _mm256_storeu_si256((__m256i *)(out->half0 + 2 * lane), s.half0);
        _mm256_storeu_si256((__m256i *)(out->half1 + 2 * lane), s.half1);
        _mm256_storeu_si256((__m256i *)(out->both + 2 * lane), s.both);
    }
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        _mm256_storeu_si256((__m256i *)(out->q[g] + 4 * lane),
                            load_columns(type, l, block, low, g));
}

/* widen() for 16 rows. */
INLINE __m512i widen_both(enum kl_quant type, const struct panel_block *block, __m512i sum16, int g)
{
    if (has_halves(type))
        return _mm512_madd_epi16(sum16, _mm512_loadu_si512(g < 4 ? block->half0 : block->half1));
    return _mm512_madd_epi16(sum16, _mm512_set1_epi16(type == KL_Q8_HIGH ? 16 : 1));
}

/* offset_of() for 16 rows. */
INLINE __m512i offset_of_both(enum kl_quant type, const struct panel_block *block,
                              const int16_t *sums, const struct token_offsets *offsets, size_t b)
{
    if (has_halves(type) && kl_packed_offset(type) != 0) {
        __m512i both = _mm512_loadu_si512(block->both);
        __m512i scaled = _mm512_madd_epi16(broadcast_word(sums), both);
        scaled =
            _mm512_slli_epi32(scaled, (unsigned)__builtin_ctz((unsigned)kl_packed_offset(type)));
        return _mm512_sub_epi32(_mm512_setzero_si512(), scaled);
    }
    if (type == KL_Q8_HIGH || offset_in_sum(type) != 0)
        return broadcast_word(&offsets->of[0][b]);
    return _mm512_setzero_si512();
}

/* The integers of one block, exact as floats, for the tokens of a tile. There is no vpsignb in 512
 * bits: where a weight is negative, the activation is subtracted from zero. */
INLINE void tile_dots(enum kl_quant type, const struct tile *t, const struct panel_block *block,
                      const int8_t *q, const int16_t *sums, const struct token_offsets *offsets,
                      size_t b, const int width, __m512 exact[TILE_TOKENS])
{
    const bool with_sign = is_signed(type);
    const int steps = steps_in_16_bits(type);
    const __m512i zero = _mm512_setzero_si512();
    __m512i sum16[TILE_TOKENS], dot[TILE_TOKENS];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m512i columns = _mm512_loadu_si512(block->q[g]);
        KEEP_ORDER_512(columns);
        __m512i size = with_sign ? _mm512_abs_epi8(columns) : columns;
        __mmask64 negative = with_sign ? _mm512_movepi8_mask(columns) : 0;
#pragma GCC unroll 8
        for (int i = 0; i < width; i++) {
            __m512i x = broadcast_word(q + (size_t)i * t->x->k + 4 * g);
            if (with_sign)
                x = _mm512_mask_sub_epi8(x, negative, zero, x);
            __m512i p = _mm512_maddubs_epi16(size, x);
            sum16[i] = g % steps == 0 ? p : _mm512_add_epi16(sum16[i], p);
            KEEP_ORDER_512(sum16[i]);
            if (g % steps != steps - 1)
                continue;
            __m512i wide = widen_both(type, block, sum16[i], g);
            dot[i] = g == steps - 1 ? wide : _mm512_add_epi32(dot[i], wide);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < width; i++) {
        const int16_t *token_sums = sums + 2 * (size_t)i * (t->x->k / KL_BLOCK);
        __m512i offset = offset_of_both(type, block, token_sums, &offsets[i], b);
        exact[i] = _mm512_cvtepi32_ps(_mm512_add_epi32(dot[i], offset));
    }
}

#include "kernels/avx512_tile.h"

const struct kl_kernels kl_kernels_avx512 = TABLE("avx512", true);
