/*
 * The loops of a tier over tiles of unpacked weights. A template: included before matmul_driver.h
 * and after
 *
 *   FEW_MOST            as matmul_driver.h says
 *   unpack_block()      a block of a group into the panel (of KL_MATMUL_SCRATCH bytes)
 *   panel_tile()        a tile of that panel x 1 to tile_tokens() tokens, at most 4
 *   tile_groups(), tile_tokens()
 *                       groups and tokens of a tile, for a type
 */
#include "kernels/matmul_tiles.h"

/* All tokens over the panels of a tile's groups. */
INLINE void panel_tokens(enum kl_quant type, struct tile t)
{
    const int groups = tile_groups(type), width = tile_tokens(type);
    float *y = t.y;
    for (; t.token + (size_t)width <= t.x->n; t.token += (size_t)width) {
        t.y = y + t.token * t.y_stride;
        panel_tile(type, &t, groups, width);
    }
    t.y = y + t.token * t.y_stride;
    if (t.x->n - t.token == 3)
        panel_tile(type, &t, groups, 3);
    else if (t.x->n - t.token == 2)
        panel_tile(type, &t, groups, 2);
    else if (t.x->n - t.token == 1)
        panel_tile(type, &t, groups, 1);
}

/* Blocks [first, first + n) of `groups` groups into the panel. Unpacking comes in bursts that
 * would wait for memory, so each block prefetches the block at the same position in the next panel,
 * `ahead` bytes on, which arrives during the tiles in between. (A prefetch past the end of the
 * weights has no effect.) */
INLINE void unpack_panel(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t n_blocks,
                         size_t group, size_t groups, size_t first, size_t n, size_t ahead,
                         void *panel)
{
    struct kl_layout l = layout_of(type);
    size_t group_bytes = kl_layout_bytes(l, n_blocks);
    for (size_t j = 0; j < groups; j++) {
        for (size_t b = 0; b < n; b++) {
            const uint8_t *header;
            const uint8_t *block =
                kl_layout_block(l, w + (group + j) * group_bytes, first + b, &header);
            for (unsigned line = 0; line < l.block_bytes; line += 64)
                __builtin_prefetch(block + ahead + line, 0, 2);
            unpack_block(type, l, header, block,
                         low_block(type, low, n_blocks, group + j, first + b), panel, j, b);
        }
    }
}

INLINE void many_tokens(enum kl_quant type, by_few_fn *by_few, const uint8_t *w, const uint8_t *low,
                        size_t begin, size_t end, const struct kl_activations *x, float *y,
                        size_t y_stride, void *scratch)
{
    struct kl_layout l = layout_of(type);
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    size_t panel_bytes = kl_layout_bytes(l, KL_PANEL_BLOCKS) - l.tail_bytes;
    const size_t groups = (size_t)tile_groups(type);
    size_t group = begin;
    for (; group + groups <= end && x->n > FEW_MOST; group += groups) {
        for (size_t first = 0; first < n_blocks; first += KL_PANEL_BLOCKS) {
            size_t left = n_blocks - first, before = first / KL_PANEL_BLOCKS * panel_bytes;
            size_t n = left < KL_PANEL_BLOCKS ? left : KL_PANEL_BLOCKS;
            size_t ahead = left > n ? panel_bytes : groups * group_bytes - before;
            unpack_panel(type, w, low, n_blocks, group, groups, first, n, ahead, scratch);
            struct tile t = {.panel = scratch,
                             .n_blocks = n,
                             .x = x,
                             .first_block = first,
                             .y = y + (group - begin) * KL_LANES,
                             .y_stride = y_stride};
            panel_tokens(type, t);
        }
    }
    if (group < end)
        by_few(w, low, group, end, x, y + (group - begin) * KL_LANES, y_stride);
}
