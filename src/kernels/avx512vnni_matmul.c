/*
 * Matrix products of the AVX-512 VNNI tier, 16 rows x 8 tokens at a time: 8 sums in int32 and 8 in
 * floats (16 in int32 for halves), and a step of 4 columns is one load of weights and 8 vpdpbusd,
 * which broadcast their 4 activations themselves. One to four tokens wait for memory, so 256
 * bits suffice for them.
 */
#define VNNI_DPBUSD _mm256_dpbusd_epi32
#define VNNI_DPWSSD _mm256_dpwssd_epi32
#include "kernels/vnni.h"

#include "kernels/avx512_blocks.h"

/* A block of both groups of a panel, in scratch. */
struct panel_block {
    uint8_t q[8][64];
    float d[16], m[16];
    float half[2][16]; /* the factors of halves */
    int16_t both[32];  /* those of the minimum */
};
_Static_assert(sizeof(struct panel_block) <= KL_PANEL_GROUPS * KL_PANEL_BYTES, "KL_PANEL_BYTES");

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
    for (int half = 0; half < 2 && has_halves(type); half++)
        _mm256_storeu_ps(out->half[half] + lane, half_scales(l, block, half));
    if (has_min_halves(type))
        _mm256_storeu_si256((__m256i *)(out->both + 2 * lane), s.both);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        _mm256_storeu_si256((__m256i *)(out->q[g] + 4 * lane),
                            load_unsigned(type, l, block, low, g));
}

/* begin_sum() for 16 rows. */
INLINE __m512i begin_both(enum kl_quant type, const struct token_offsets *offsets, size_t b,
                          int part)
{
    return offset_in_sum(type) == 0 ? _mm512_setzero_si512()
                                    : broadcast_word(&offsets->of[part][b]);
}

/* whole_sum() for 16 rows. */
INLINE __m512 whole_both(enum kl_quant type, const __m512i *sum, const struct panel_block *block,
                         const struct token_offsets *offsets, size_t b)
{
    if (has_halves(type)) {
        __m512 first = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[0]), _mm512_loadu_ps(block->half[0]),
                                       _mm512_setzero_ps());
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[1]), _mm512_loadu_ps(block->half[1]), first);
    }
    __m512i whole = sum[0];
    if (type == KL_Q8_HIGH) {
        whole = _mm512_slli_epi32(whole, HIGH_SHIFT);
        whole = _mm512_add_epi32(whole, broadcast_word(&offsets->of[0][b]));
    }
    return _mm512_cvtepi32_ps(whole);
}

/* The integers of one block, exact as floats, for the tokens of a tile. */
INLINE void tile_dots(enum kl_quant type, const struct tile *t, const struct panel_block *block,
                      const int8_t *q, const int16_t *sums, const struct token_offsets *offsets,
                      size_t b, const int width, __m512 exact[TILE_TOKENS])
{
    (void)sums;
    __m512i dot[TILE_TOKENS][2];
#pragma GCC unroll 8
    for (int i = 0; i < width; i++)
#pragma GCC unroll 2
        for (int part = 0; part < sums_of(type); part++)
            dot[i][part] = begin_both(type, &offsets[i], b, part);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        const int part = sums_of(type) == 2 ? g / 4 : 0;
        __m512i columns = _mm512_loadu_si512(block->q[g]);
        KEEP_ORDER_512(columns);
#pragma GCC unroll 8
        for (int i = 0; i < width; i++) {
            __m512i four = broadcast_word(q + (size_t)i * t->x->k + 4 * g);
            dot[i][part] = _mm512_dpbusd_epi32(dot[i][part], columns, four);
            KEEP_ORDER_512(dot[i][part]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < width; i++)
        exact[i] = whole_both(type, dot[i], block, &offsets[i], b);
}

#include "kernels/avx512_tile.h"

const struct kl_kernels kl_kernels_avx512vnni = TABLE("avx512vnni", true);
