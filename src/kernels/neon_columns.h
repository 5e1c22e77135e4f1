/*
 * The panels and tiles of the NEON tiers that multiply 4 columns at a time, by add_columns().
 */
#include "kernels/neon_products.h"

INLINE void unpack_block(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                         const uint8_t *block, const uint8_t *low, void *panel, size_t group,
                         size_t b)
{
    struct panel_block *out = (struct panel_block *)panel + group * KL_PANEL_BLOCKS + b;
    struct block_scales s = load_scales(type, l, header, block);
    store_scales(type, l, s, out);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        int8x16x2_t columns = load_columns(type, l, block, low, g);
        vst1q_s8(out->q[g], columns.val[0]);
        vst1q_s8(out->q[g] + 16, columns.val[1]);
    }
}

/* The integers of block b, for the tile's groups and tokens. */
INLINE void tile_dots(enum kl_quant type, const struct tile *t, size_t b,
                      const struct kl_int8_block *in, const int groups, const int width,
                      float32x4x2_t dot[2][4])
{
    const size_t n_blocks = t->x->k / KL_BLOCK;
    struct partial partial[2][4];
    int8x16_t x[4];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        int8x16x2_t columns[2];
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            const int8_t *from = panel_block_of(t, j, b)->q[g];
            columns[j].val[0] = vld1q_s8(from);
            columns[j].val[1] = vld1q_s8(from + 16);
            KEEP_ORDER(columns[j].val[0]);
            KEEP_ORDER(columns[j].val[1]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < width; i++) {
            if (g % 4 == 0) {
                x[i] = vld1q_s8(in[(size_t)i * n_blocks].q + 4 * g);
                KEEP_ORDER(x[i]);
            }
#pragma GCC unroll 2
            for (int j = 0; j < groups; j++) {
                add_columns(type, &partial[j][i], columns[j], x[i], g);
                if (!sums_end(type, g))
                    continue;
                struct block_scales s =
                    panel_scales(type, layout_of(type), panel_block_of(t, j, b));
                dot[j][i] = scaled(type, &s, &partial[j][i], dot[j][i], g);
            }
        }
    }
}

#include "kernels/neon_tile.h"
