/*
 * The products of a vector tier, for all types. A template: included at the end of a tier's file,
 * which defines before it
 *
 *   FEW_MOST            up to this many tokens, at most MOST_FEW, read the packed weights of one
 *                       group after the other and unpack them in registers
 *   few_ahead()         bytes by which few_tokens() prefetches ahead; 0: not at all
 *   add_few()           a block's part of the outputs of 1 to FEW_MOST tokens
 *   lanes, zero_lanes(), store_lanes()
 *                       the outputs of 8 rows
 *   many_tokens()       all tokens over the groups [begin, end), by tiles where there are more than
 *                       FEW_MOST and the groups suffice: matmul_panels.h or avx512_tile.h
 */
#include "kernels/matmul_tiles.h"

_Static_assert(FEW_MOST <= MOST_FEW, "FEW_MOST");

/* At most FEW_MOST tokens: the weights are read once. */
INLINE void few_tokens(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t begin,
                       size_t end, const struct kl_activations *x, float *y, size_t y_stride,
                       const int width)
{
    struct kl_layout l = layout_of(type);
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    const size_t ahead = few_ahead(n_blocks, width);
    for (size_t group = begin; group < end; group++) {
        lanes sum[MOST_FEW];
        for (int i = 0; i < width; i++)
            sum[i] = zero_lanes();
        for (size_t b = 0; b < n_blocks; b++) {
            const uint8_t *header;
            const uint8_t *block = kl_layout_block(l, w + group * group_bytes, b, &header);
            for (unsigned line = 0; ahead > 0 && line < l.block_bytes; line += 64)
                __builtin_prefetch(block + ahead + line, 0, 3);
            add_few(type, l, header, block, low_block(type, low, n_blocks, group, b), x, b, width,
                    sum);
        }
        for (int i = 0; i < width; i++)
            store_lanes(y + (size_t)i * y_stride + (group - begin) * KL_LANES, sum[i]);
    }
}

/* All tokens, FEW_MOST at a time. */
INLINE void by_few_tokens(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t begin,
                          size_t end, const struct kl_activations *x, float *y, size_t y_stride)
{
    struct kl_activations rest = *x;
    while (rest.n > 0) {
        const size_t n = rest.n < FEW_MOST ? rest.n : FEW_MOST;
#define FEW(width)                                                                                 \
    if ((width) <= FEW_MOST && n == (width))                                                       \
    few_tokens(type, w, low, begin, end, &rest, y, y_stride, (width))
        FEW(1);
        FEW(2);
        FEW(3);
        FEW(4);
        FEW(5);
        FEW(6);
        FEW(7);
        FEW(8);
#undef FEW
        skip_tokens(&rest, n);
        y += n * y_stride;
    }
}

#define DEFINE_MATMUL(NAME, name, ...)                                                             \
    static void name##_by_few(const uint8_t *w, const uint8_t *low, size_t begin, size_t end,      \
                              const struct kl_activations *x, float *y, size_t y_stride)           \
    {                                                                                              \
        by_few_tokens(KL_##NAME, w, low, begin, end, x, y, y_stride);                              \
    }                                                                                              \
    static void matmul_##name(const uint8_t *w, size_t begin, size_t end,                          \
                              const struct kl_activations *x, float *y, size_t y_stride,           \
                              void *scratch)                                                       \
    {                                                                                              \
        many_tokens(KL_##NAME, name##_by_few, w, NULL, begin, end, x, y, y_stride, scratch);       \
    }
KL_BLOCK_PRODUCTS(DEFINE_MATMUL)
#undef DEFINE_MATMUL

static void matmul_halves_by_few(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                                 const struct kl_activations *x, float *y, size_t y_stride)
{
    by_few_tokens(KL_Q8_LOW, high, low, begin, end, x, y, y_stride);
}

static void matmul_halves(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                          const struct kl_activations *x, float *y, size_t y_stride, void *scratch)
{
    many_tokens(KL_Q8_LOW, matmul_halves_by_few, high, low, begin, end, x, y, y_stride, scratch);
}

/* The tier's products with quantised weights, in its table. */
#define PRODUCT_ROW(NAME, name, ...) .matmul[KL_##NAME] = matmul_##name,
#define TERNARY_ROW(NAME, name, ...) .matmul[KL_##NAME] = matmul_q2_k,
#define QUANTISED_PRODUCTS                                                                         \
    KL_BLOCK_PRODUCTS(PRODUCT_ROW) KL_TERNARY_TYPES(TERNARY_ROW).matmul_halves = matmul_halves
