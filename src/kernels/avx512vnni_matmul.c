/*
 * Matrix products of the AVX-512 VNNI tier, 16 rows x 12 tokens at a time: 12 sums in int32 and 12
 * in floats (8 tokens, 16 sums in int32 and 8 in floats for halves), and a step of 4 columns is one
 * register of weights and 12 vpdpbusd. One to four tokens wait for memory, so 256 bits suffice for
 * them.
 */
#define VNNI_DPBUSD _mm256_dpbusd_epi32
#define VNNI_DPWSSD _mm256_dpwssd_epi32
#include "kernels/vnni.h"

#include "kernels/avx512_blocks.h"

/* Adds the products of 4 columns of 16 rows with the activations at p. The instruction broadcasts
 * them itself; GCC would load them into a register of their own, and half of the registers that the
 * core has for instructions on their way would be taken by these (SPEED.md). Keeps the order, too.
 */
INLINE void add_products(__m512i *sum, __m512i columns, const int8_t *p)
{
#ifdef __AVX512VNNI__
    __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0"
                     : "+v"(*sum)
                     : "v"(columns), "m"(*(const int8_t(*)[4])p));
#else /* emulated */
    *sum = _mm512_dpbusd_epi32(*sum, columns, broadcast_word(p));
#endif
}

/* begin_sum() for 16 rows. */
INLINE __m512i begin_pair_sum(enum kl_quant type, const struct kl_int8_block *x, int part)
{
    if (offset_in_sum(type) == 0)
        return _mm512_setzero_si512();
    return negated_offset(type, offset_in_sum(type), x, part);
}

/* whole_sum() for 16 rows. half: of struct pair_scales, as floats. */
INLINE __m512 whole_pair_sum(enum kl_quant type, const __m512i *sum, const __m512 *half,
                             const struct kl_int8_block *x)
{
    if (has_halves(type)) {
        __m512 first = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[0]), half[0], _mm512_setzero_ps());
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[1]), half[1], first);
    }
    __m512i whole = sum[0];
    if (type == KL_Q8_HIGH) {
        whole = _mm512_slli_epi32(whole, HIGH_SHIFT);
        whole = _mm512_add_epi32(whole, negated_offset(type, 249, x, 0));
    }
    return _mm512_cvtepi32_ps(whole);
}

/* The factors of 16 columns of both blocks, as floats. */
INLINE __m512 pair_half_scales(struct kl_layout l, const struct block_pair *at, int half)
{
    return join_floats(half_scales(l, at->block[0], half), half_scales(l, at->block[1], half));
}

/* The integers of one block, exact as floats, for the tokens of a tile. */
INLINE void tile_dots(enum kl_quant type, struct kl_layout l, const struct block_pair *at,
                      const struct pair_scales *s,
                      const struct kl_int8_block *const token[MOST_TILE], const int width,
                      __m512 exact[MOST_TILE])
{
    (void)s;
    __m512i dot[MOST_TILE][2];
#pragma GCC unroll 12
    for (int i = 0; i < width; i++)
#pragma GCC unroll 2
        for (int part = 0; part < sums_of(type); part++)
            dot[i][part] = begin_pair_sum(type, token[i], part);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        const int part = sums_of(type) == 2 ? g / 4 : 0;
        __m512i columns = load_pair_columns(type, l, at, g, false);
        KEEP_ORDER_512(columns);
#pragma GCC unroll 12
        for (int i = 0; i < width; i++)
            add_products(&dot[i][part], columns, token[i]->q + 4 * g);
    }
    const __m512 half[2] = {pair_half_scales(l, at, 0), pair_half_scales(l, at, 1)};
#pragma GCC unroll 12
    for (int i = 0; i < width; i++)
        exact[i] = whole_pair_sum(type, dot[i], half, token[i]);
}

/* A token takes two registers, or three where its sum has two parts. */
INLINE int tile_tokens(enum kl_quant type)
{
    return has_halves(type) ? TILE_TOKENS : MOST_TILE;
}

#include "kernels/avx512_tile.h"

const struct kl_kernels kl_kernels_avx512vnni = TABLE_512("avx512vnni");
