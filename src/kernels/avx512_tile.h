/*
 * A tile of the AVX-512 tiers: 16 rows x 8 tokens. A template: included after
 *   struct panel_block   with d and m, the scales and minima of 16 rows, and both, the factors of m
 *                        for halves of a block
 *   unpack_block()       as matmul_driver.h says
 *   tile_dots()          the integers of one block, exact as floats, for the tokens of a tile
 */
#include "kernels/avx512_blocks.h"

/* add_floats() for 16 rows: the same operations on each. */
INLINE __m512 add_both(struct kl_layout l, const struct panel_block *block, __m512 dot, float scale,
                       const int16_t *sums, __m512 sum)
{
    __m512 factor = _mm512_mul_ps(_mm512_loadu_ps(block->d), _mm512_set1_ps(scale));
    sum = _mm512_fmadd_ps(dot, factor, sum);
    if (l.scales == KL_SCALES_NIBBLES) {
        __m512i both = _mm512_madd_epi16(broadcast_word(sums), _mm512_loadu_si512(block->both));
        __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(both), _mm512_set1_ps(scale));
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(block->m), scaled, sum);
    } else if (l.has_min) {
        float scaled_sum = scale * (float)(sums[0] + sums[1]);
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(block->m), _mm512_set1_ps(scaled_sum), sum);
    }
    return sum;
}

/* Computes the tile; the outputs of both groups are adjacent. groups: always 2. */
INLINE void panel_tile(enum kl_quant type, const struct tile *t, const int groups, const int width)
{
    (void)groups;
    struct kl_layout l = layout_of(type);
    size_t row_blocks = t->x->k / KL_BLOCK;
    const int8_t *q = t->x->q + t->token * t->x->k + t->first_block * KL_BLOCK;
    const float *scale = t->x->scale + t->token * row_blocks + t->first_block;
    const int16_t *sums = t->x->sum + 2 * (t->token * row_blocks + t->first_block);
    const struct panel_block *block = t->panel;

    struct token_offsets offsets[TILE_TOKENS];
    __m512 sum[TILE_TOKENS];
    for (int i = 0; i < width; i++) {
        prepare_offsets(type, sums + 2 * (size_t)i * row_blocks, t->n_blocks, &offsets[i]);
        sum[i] = t->first_block == 0 ? _mm512_setzero_ps()
                                     : _mm512_loadu_ps(t->y + (size_t)i * t->y_stride);
    }
    for (size_t b = 0; b < t->n_blocks; b++, block++, q += KL_BLOCK, scale++, sums += 2) {
        __m512 exact[TILE_TOKENS];
        tile_dots(type, t, block, q, sums, offsets, b, width, exact);
#pragma GCC unroll 8
        for (int i = 0; i < width; i++) {
            const int16_t *token_sums = sums + 2 * (size_t)i * row_blocks;
            sum[i] =
                add_both(l, block, exact[i], scale[(size_t)i * row_blocks], token_sums, sum[i]);
        }
    }
    for (int i = 0; i < width; i++)
        _mm512_storeu_ps(t->y + (size_t)i * t->y_stride, sum[i]);
}

INLINE int tile_groups(enum kl_quant type)
{
    (void)type;
    return KL_PANEL_GROUPS;
}

INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return TILE_TOKENS;
}

#define FEW_MOST  4
#define few_ahead ahead_in_long_rows
#include "kernels/matmul_driver.h"
