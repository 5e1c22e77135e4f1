/*
 * Matrix products of the AVX-VNNI tier: the AVX2 tier's tiles of 2 groups x 4 tokens, but the 8
 * sums are int32 from the first step on, in registers, and a step of 4 columns is 2 loads of
 * weights, 4 broadcasts and 8 vpdpbusd. Up to eight tokens are not worth a panel.
 */
#include "kernels/avx2.h"

#define VNNI_DPBUSD _mm256_dpbusd_avx_epi32
#define VNNI_DPWSSD _mm256_dpwssd_avx_epi32
#include "kernels/vnni.h"

/* A block of a panel, in scratch. */
struct panel_block {
    uint8_t q[8][32];
    float d[8], m[8];
    float half[2][8]; /* the factors of halves */
    int16_t both[16]; /* those of the minimum */
};
_Static_assert(sizeof(struct panel_block) <= KL_PANEL_BYTES, "KL_PANEL_BYTES");

INLINE void unpack_block(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                         const uint8_t *block, const uint8_t *low, void *panel, size_t group,
                         size_t b)
{
    struct panel_block *out = (struct panel_block *)panel + group * KL_PANEL_BLOCKS + b;
    struct block_scales s = load_scales(type, l, header, block);
    _mm256_storeu_ps(out->d, s.d);
    if (l.has_min)
        _mm256_storeu_ps(out->m, s.m);
    for (int half = 0; half < 2 && has_halves(type); half++)
        _mm256_storeu_ps(out->half[half], half_scales(l, block, half));
    if (has_min_halves(type))
        _mm256_storeu_si256((__m256i *)out->both, s.both);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        _mm256_storeu_si256((__m256i *)out->q[g], load_unsigned(type, l, block, low, g));
}

INLINE const struct panel_block *panel_block_of(const struct tile *t, int group, size_t b)
{
    return (const struct panel_block *)t->panel + (size_t)group * KL_PANEL_BLOCKS + b;
}

/* 4 columns of the tile's groups and tokens: step g of the block. */
INLINE void tile_step(enum kl_quant type, const struct tile *t, size_t b,
                      const struct kl_int8_block *x, int g, const int groups, const int width,
                      __m256i dot[2][4][2])
{
    const int part = sums_of(type) == 2 ? g / 4 : 0;
    const size_t row_blocks = t->x->k / KL_BLOCK;
    __m256i columns[2];
#pragma GCC unroll 2
    for (int j = 0; j < groups; j++) {
        columns[j] = _mm256_loadu_si256((const __m256i *)panel_block_of(t, j, b)->q[g]);
        KEEP_ORDER(columns[j]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < width; i++) {
        __m256i four = broadcast4(x[(size_t)i * row_blocks].q + 4 * g);
        KEEP_ORDER(four);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            dot[j][i][part] = VNNI_DPBUSD(dot[j][i][part], columns[j], four);
            KEEP_ORDER(dot[j][i][part]);
        }
    }
}

INLINE void panel_tile(enum kl_quant type, const struct tile *t, const int groups, const int width)
{
    struct kl_layout l = layout_of(type);
    size_t row_blocks = t->x->k / KL_BLOCK;
    const struct kl_int8_block *x = t->x->blocks + t->token * row_blocks + t->first_block;

    __m256 sum[2][4];
    for (int j = 0; j < groups; j++)
        for (int i = 0; i < width; i++)
            sum[j][i] = t->first_block == 0
                            ? _mm256_setzero_ps()
                            : _mm256_loadu_ps(t->y + (size_t)i * t->y_stride + j * KL_LANES);
    for (size_t b = 0; b < t->n_blocks; b++, x++) {
        __m256i dot[2][4][2];
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++)
#pragma GCC unroll 4
            for (int i = 0; i < width; i++)
#pragma GCC unroll 2
                for (int part = 0; part < sums_of(type); part++)
                    dot[j][i][part] = begin_sum(type, x + (size_t)i * row_blocks, part);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            tile_step(type, t, b, x, g, groups, width, dot);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            const struct panel_block *block = panel_block_of(t, j, b);
            struct block_scales s = {.d = _mm256_loadu_ps(block->d)};
            if (l.has_min)
                s.m = _mm256_loadu_ps(block->m);
            if (has_min_halves(type))
                s.both = _mm256_loadu_si256((const __m256i *)block->both);
            const __m256 half[2] = {_mm256_loadu_ps(block->half[0]),
                                    _mm256_loadu_ps(block->half[1])};
#pragma GCC unroll 4
            for (int i = 0; i < width; i++) {
                const struct kl_int8_block *of_token = x + (size_t)i * row_blocks;
                __m256 exact = whole_sum(type, dot[j][i], half, of_token);
                sum[j][i] = add_floats(l, s, exact, of_token, sum[j][i]);
            }
        }
    }
    for (int j = 0; j < groups; j++)
        for (int i = 0; i < width; i++)
            _mm256_storeu_ps(t->y + (size_t)i * t->y_stride + j * KL_LANES, sum[j][i]);
}

/* A type with halves has two sums for each group and token, too many for 16 registers with two
 * groups. */
INLINE int tile_groups(enum kl_quant type)
{
    return has_halves(type) ? 1 : KL_PANEL_GROUPS;
}

INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return 4;
}

#define FEW_MOST  8
#define few_ahead ahead_of_three_tokens
#include "kernels/matmul_panels.h"

#include "kernels/matmul_driver.h"

const struct kl_kernels kl_kernels_avxvnni =
    TABLE("avxvnni", false, TIER(swiglu), TIER(attend_f16), TIER(attend_int8));
