/*
 * A tile of the NEON tiers. A template: included after unpack_block(), as matmul_driver.h says, and
 * tile_dots(), the integers of one block, exact as floats, for the groups and tokens of a tile.
 */
INLINE void panel_tile(enum kl_quant type, const struct tile *t, const int groups, const int width)
{
    struct kl_layout l = layout_of(type);
    const struct kl_int8_block *in =
        t->x->blocks + t->token * (t->x->k / KL_BLOCK) + t->first_block;

    for (int i = 0; i < width && t->first_block == 0; i++)
        memset(t->y + (size_t)i * t->y_stride, 0, (size_t)groups * KL_LANES * sizeof *t->y);
    for (size_t b = 0; b < t->n_blocks; b++, in++) {
        float32x4x2_t dot[2][4] = {0};
        tile_dots(type, t, b, in, groups, width, dot);
        struct token_scales a[4];
        for (int i = 0; i < width; i++)
            a[i] = token_scales(type, l, t->x, t->token + (size_t)i, t->first_block + b);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            struct block_scales s = panel_scales(type, l, panel_block_of(t, j, b));
#pragma GCC unroll 4
            for (int i = 0; i < width; i++) {
                float *y = t->y + (size_t)i * t->y_stride + j * KL_LANES;
                for (int h = 0; h < 2; h++)
                    vst1q_f32(y + 4 * h, add_block(type, l, &s, h, dot[j][i].val[h], a[i],
                                                   vld1q_f32(y + 4 * h)));
            }
        }
    }
}

#define FEW_MOST  4
#define few_ahead ahead_in_long_rows
#include "kernels/matmul_panels.h"

#include "kernels/matmul_driver.h"
