/*
 * Matrix products of the NEON tier with products of matrices (SMMLA, I8MM: Cortex-A510, Neoverse N2
 * and V1, and later).
 *
 * SMMLA multiplies 8 columns of 2 rows with the activations of 2 tokens: twice the products of
 * SDOT, into 4 int32. So a panel holds, for 8 columns, a vector for every 2 rows. A tile is 2
 * groups x 4 tokens: 16 sums of 2 rows x 2 tokens; 8 columns are 8 loads of weights and 2 pairs of
 * activations for 16 SMMLAs. In the end UZP takes the tokens apart. One to four tokens wait for
 * memory or for unpacking, so SDOT suffices for them.
 */
#include "kernels/neon_sdot.h"

INLINE int tile_groups(enum kl_quant type)
{
    (void)type;
    return 2;
}

INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return 4;
}

#include "kernels/neon_products.h"

INLINE int8x16_t pair_rows(int8x16_t first, int8x16_t second, int upper)
{
    int32x4_t a = vreinterpretq_s32_s8(first), b = vreinterpretq_s32_s8(second);
    return vreinterpretq_s8_s32(upper ? vzip2q_s32(a, b) : vzip1q_s32(a, b));
}

INLINE void unpack_block(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                         const uint8_t *block, const uint8_t *low, void *panel, size_t group,
                         size_t b)
{
    struct panel_block *out = (struct panel_block *)panel + group * KL_PANEL_BLOCKS + b;
    store_scales(type, l, load_scales(type, l, header, block), out);
#pragma GCC unroll 4
    for (int g = 0; g < 8; g += 2) {
        int8x16x2_t first = load_columns(type, l, block, low, g);
        int8x16x2_t second = load_columns(type, l, block, low, g + 1);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            vst1q_s8(out->q[g] + 16 * i, pair_rows(first.val[i / 2], second.val[i / 2], i % 2));
    }
}

/* 8 columns of the activations of two tokens; of a last single one, twice. */
INLINE int8x16_t load_pair(const struct kl_int8_block *in, size_t n_blocks, int at, bool alone)
{
    return vcombine_s8(vld1_s8(in->q + at), vld1_s8(in[alone ? 0 : n_blocks].q + at));
}

/* The integers of block b, for the tile's groups and tokens. */
INLINE void tile_dots(enum kl_quant type, const struct tile *t, size_t b,
                      const struct kl_int8_block *in, const int groups, const int width,
                      float32x4x2_t dot[2][4])
{
    const size_t n_blocks = t->x->k / KL_BLOCK;
    const int pairs = (width + 1) / 2;
    int32x4_t sum[2][2][4]; /* [pair of tokens][group][pair of rows] */
#pragma GCC unroll 4
    for (int g = 0; g < 8; g += 2) {
        int8x16_t x[2];
        for (int p = 0; p < pairs; p++) {
            x[p] = load_pair(in + 2 * (size_t)p * n_blocks, n_blocks, 4 * g, 2 * p + 1 == width);
            KEEP_ORDER(x[p]);
        }
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                int8x16_t rows = vld1q_s8(panel_block_of(t, j, b)->q[g] + 16 * i);
                KEEP_ORDER(rows);
#pragma GCC unroll 2
                for (int p = 0; p < pairs; p++) {
                    int32x4_t before = g == 0 ? vdupq_n_s32(MAGIC_BITS) : sum[p][j][i];
                    sum[p][j][i] = vmmlaq_s32(before, rows, x[p]);
                    KEEP_ORDER(sum[p][j][i]);
                }
            }
            if (!sums_end(type, g + 1))
                continue;
            struct block_scales s = panel_scales(type, layout_of(type), panel_block_of(t, j, b));
#pragma GCC unroll 4
            for (int token = 0; token < width; token++) {
                const int32x4_t *of = sum[token / 2][j];
                struct partial apart = {{vuzp1q_s32(of[0], of[1]), vuzp1q_s32(of[2], of[3])}};
                if (token % 2 == 1)
                    apart = (struct partial){{vuzp2q_s32(of[0], of[1]), vuzp2q_s32(of[2], of[3])}};
                dot[j][token] = scaled(type, &s, &apart, dot[j][token], g);
            }
        }
    }
}

#include "kernels/neon_tile.h"

const struct kl_kernels kl_kernels_neon_i8mm = TABLE("neon-i8mm");
