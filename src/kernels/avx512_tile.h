/*
 * A tile of the AVX-512 tiers: 16 rows (two groups) x 8 or 12 tokens, whose sums stay in registers
 * over the whole row. Weights are unpacked in registers for each tile: that takes other ports of
 * the core than the products, so writing them into a panel once would only cost time (SPEED.md). A
 * template: included after
 *
 *   tile_dots()         the integers of one block, exact as floats, for the tokens of a tile
 *   tile_tokens()       the most of them for a type: TILE_TOKENS or MOST_TILE
 */
#include "kernels/avx512_blocks.h"

/* add_floats() for 16 rows: the same operations on each. */
INLINE __m512 add_pair_floats(struct kl_layout l, const struct pair_scales *s, __m512 dot,
                              const struct kl_int8_block *x, __m512 sum)
{
    __m512 scale = _mm512_set1_ps(x->scale), factor = _mm512_mul_ps(s->d, scale);
    sum = _mm512_fmadd_ps(dot, factor, sum);
    if (l.scales == KL_SCALES_NIBBLES) {
        __m512i both = _mm512_madd_epi16(broadcast_word(x->half_sum), s->both);
        sum = _mm512_fmadd_ps(s->m, _mm512_mul_ps(_mm512_cvtepi32_ps(both), scale), sum);
    } else if (l.has_min) {
        sum = _mm512_fmadd_ps(s->m, _mm512_set1_ps(x->scaled_sum), sum);
    }
    return sum;
}

/* The groups `group` and group + 1 x the first `width` tokens; the outputs of both groups are
 * adjacent. prefetch: each block prefetches the one at the same position of the next two groups,
 * into L2: L1 holds the activations and these two. */
INLINE void pair_tile(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t group,
                      const struct kl_activations *x, float *y, size_t y_stride,
                      const bool prefetch, const int width)
{
    struct kl_layout l = layout_of(type);
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    const struct kl_int8_block *token[MOST_TILE]; /* the block of each */
    for (int i = 0; i < width; i++)
        token[i] = x->blocks + (size_t)i * n_blocks;
    __m512 sum[MOST_TILE];
    for (int i = 0; i < width; i++)
        sum[i] = _mm512_setzero_ps();
    for (size_t b = 0; b < n_blocks; b++) {
        struct block_pair at;
        for (size_t j = 0; j < 2; j++) {
            at.block[j] = kl_layout_block(l, w + (group + j) * group_bytes, b, &at.header[j]);
            at.low[j] = low_block(type, low, n_blocks, group + j, b);
            for (unsigned line = 0; prefetch && line < l.block_bytes; line += 64)
                __builtin_prefetch(at.block[j] + 2 * group_bytes + line, 0, 2);
        }
        const struct pair_scales s = load_pair_scales(type, l, &at);
        __m512 exact[MOST_TILE];
        tile_dots(type, l, &at, &s, token, width, exact);
#pragma GCC unroll 12
        for (int i = 0; i < width; i++)
            sum[i] = add_pair_floats(l, &s, exact[i], token[i]++, sum[i]);
    }
    for (int i = 0; i < width; i++)
        _mm512_storeu_ps(y + (size_t)i * y_stride, sum[i]);
}

/* All tokens over two groups. */
INLINE void pair_tokens(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t group,
                        const struct kl_activations *x, float *y, size_t y_stride)
{
    struct kl_activations rest = *x;
    while (rest.n > 0) {
        size_t n = rest.n < TILE_TOKENS ? rest.n : TILE_TOKENS;
        if (tile_tokens(type) > TILE_TOKENS && rest.n >= MOST_TILE)
            n = MOST_TILE;
#define TILE(width)                                                                                \
    if (n == (width))                                                                              \
    pair_tile(type, w, low, group, &rest, y, y_stride, rest.n == x->n, (width))
        TILE(1);
        TILE(2);
        TILE(3);
        TILE(4);
        TILE(5);
        TILE(6);
        TILE(7);
        TILE(8);
        if (tile_tokens(type) > TILE_TOKENS)
            TILE(MOST_TILE);
#undef TILE
        skip_tokens(&rest, n);
        y += n * y_stride;
    }
}

#define FEW_MOST  4
#define few_ahead ahead_of_three_tokens

INLINE void many_tokens(enum kl_quant type, by_few_fn *by_few, const uint8_t *w, const uint8_t *low,
                        size_t begin, size_t end, const struct kl_activations *x, float *y,
                        size_t y_stride, void *scratch)
{
    (void)scratch;
    size_t group = begin;
    for (; group + 2 <= end && x->n > FEW_MOST; group += 2)
        pair_tokens(type, w, low, group, x, y + (group - begin) * KL_LANES, y_stride);
    if (group < end)
        by_few(w, low, group, end, x, y + (group - begin) * KL_LANES, y_stride);
}

#include "kernels/matmul_driver.h"
