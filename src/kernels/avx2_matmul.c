/*
 * Matrix products of the AVX2 tier.
 *
 * Up to eight tokens read the packed weights once and unpack in registers. More of them unpack
 * panels of two groups into L1 first and run over them in tiles of 2 groups x 4 tokens: a step of 4
 * columns is then 2 loads of weights and 4 broadcasts for 8 products, below the 2 loads a cycle
 * that Zen and Haswell can do, and the 8 int16 sums, 2 weights, a broadcast and a product leave the
 * int32 and float sums to the stack, where they are touched once in 8 steps.
 */
#include "kernels/avx2_products.h"

/* A block of a panel: KL_PANEL_BYTES in scratch. */
struct panel_block {
    uint8_t q[8][32]; /* or int8 */
    float d[8], m[8];
    int16_t half0[16], half1[16], both[16];
};
_Static_assert(sizeof(struct panel_block) == KL_PANEL_BYTES, "KL_PANEL_BYTES");

INLINE void unpack_block(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                         const uint8_t *block, const uint8_t *low, void *panel, size_t group,
                         size_t b)
{
    struct panel_block *out = (struct panel_block *)panel + group * KL_PANEL_BLOCKS + b;
    struct block_scales s = load_scales(type, l, header, block);
    _mm256_storeu_ps(out->d, s.d);
    if (l.has_min)
        _mm256_storeu_ps(out->m, s.m);
    if (has_halves(type)) {
        _mm256_storeu_si256((__m256i *)out->half0, s.half0);
        _mm256_storeu_si256((__m256i *)out->half1, s.half1);
        _mm256_storeu_si256((__m256i *)out->both, s.both);
    }
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        _mm256_storeu_si256((__m256i *)out->q[g], load_columns(type, l, block, low, g));
}

INLINE struct block_scales panel_scales(enum kl_quant type, struct kl_layout l,
                                        const struct panel_block *in)
{
    struct block_scales s = {0};
    s.d = _mm256_loadu_ps(in->d);
    if (l.has_min)
        s.m = _mm256_loadu_ps(in->m);
    if (has_halves(type)) {
        s.half0 = _mm256_loadu_si256((const __m256i *)in->half0);
        s.half1 = _mm256_loadu_si256((const __m256i *)in->half1);
        s.both = _mm256_loadu_si256((const __m256i *)in->both);
    }
    return s;
}

INLINE const struct panel_block *panel_block_of(const struct tile *t, int group, size_t b)
{
    return (const struct panel_block *)t->panel + (size_t)group * KL_PANEL_BLOCKS + b;
}

/* 4 columns of the tile's groups and tokens: step g of the block. */
INLINE void tile_step(enum kl_quant type, const struct tile *t, size_t b,
                      const struct kl_int8_block *x, int g, const int groups, const int width,
                      __m256i sum16[2][4], __m256i dot[2][4])
{
    const int steps = steps_in_16_bits(type);
    const size_t row_blocks = t->x->k / KL_BLOCK;
    __m256i columns[2], size[2];
#pragma GCC unroll 2
    for (int j = 0; j < groups; j++) {
        const struct panel_block *block = panel_block_of(t, j, b);
        columns[j] = _mm256_loadu_si256((const __m256i *)block->q[g]);
        KEEP_ORDER(columns[j]);
        size[j] = is_signed(type) ? _mm256_abs_epi8(columns[j]) : columns[j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < width; i++) {
        __m256i four = broadcast4(x[(size_t)i * row_blocks].q + 4 * g);
        KEEP_BROADCAST(four);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            __m256i factor = is_signed(type) ? _mm256_sign_epi8(four, columns[j]) : four;
            __m256i p = _mm256_maddubs_epi16(size[j], factor);
            sum16[j][i] = g % steps == 0 ? p : _mm256_add_epi16(sum16[j][i], p);
            KEEP_ORDER(sum16[j][i]);
            if (g % steps != steps - 1)
                continue;
            const struct panel_block *block = panel_block_of(t, j, b);
            __m256i wide = widen(type, panel_scales(type, layout_of(type), block), sum16[j][i], g);
            dot[j][i] = g == steps - 1 ? wide : _mm256_add_epi32(dot[j][i], wide);
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
        __m256i sum16[2][4], dot[2][4];
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            tile_step(type, t, b, x, g, groups, width, sum16, dot);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            struct block_scales s = panel_scales(type, l, panel_block_of(t, j, b));
#pragma GCC unroll 4
            for (int i = 0; i < width; i++) {
                const struct kl_int8_block *of_token = x + (size_t)i * row_blocks;
                __m256i exact = _mm256_add_epi32(dot[j][i], offset_of(type, s, of_token));
                sum[j][i] = add_block(l, s, exact, of_token, sum[j][i]);
            }
        }
    }
    for (int j = 0; j < groups; j++)
        for (int i = 0; i < width; i++)
            _mm256_storeu_ps(t->y + (size_t)i * t->y_stride + j * KL_LANES, sum[j][i]);
}

/* Signed weights widen at every step: their int32 sums must stay in registers. Where a vector is a
 * pair of registers, one group takes all of them. */
INLINE int tile_groups(enum kl_quant type)
{
#ifdef __AVX2__
    return is_signed(type) ? 1 : KL_PANEL_GROUPS;
#else
    (void)type;
    return 1;
#endif
}

INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return 4;
}

/* Eight tokens: their 8 int16 sums stay in registers, and unpacking for all of them costs less than
 * writing and reading a panel. Without AVX2 each vector is a pair of registers. */
#ifdef __AVX2__
#define FEW_MOST 8
#else
#define FEW_MOST 4
#endif

/* Two pages of memory: without it the times of reading and multiplying add up, probably since the
 * hardware prefetches within a page only (SPEED.md). */
INLINE size_t few_ahead(size_t n_blocks, int width)
{
    (void)n_blocks;
    (void)width;
    return 8192;
}

#include "kernels/matmul_panels.h"

#include "kernels/matmul_driver.h"

/* Float weights, column by column. Rare (a model that was not quantised), so tokens go one by one.
 */
INLINE void float_weights(enum kl_quant type, const uint8_t *w, size_t begin, size_t end,
                          const struct kl_activations *x, float *y, size_t y_stride)
{
    size_t n_blocks = x->k / KL_BLOCK;
    size_t element = kl_float_bytes(type);
    for (size_t group = begin; group < end; group++) {
        for (size_t t = 0; t < x->n; t++) {
            const uint8_t *p = w + group * x->k * KL_LANES * element;
            __m256 total = _mm256_setzero_ps();
            for (size_t b = 0; b < n_blocks; b++) {
                const struct kl_int8_block *block = &x->blocks[t * n_blocks + b];
                __m256 sum = _mm256_setzero_ps();
                for (size_t c = 0; c < KL_BLOCK; c++, p += KL_LANES * element) {
                    __m256 column;
                    if (type == KL_F32) {
                        column = _mm256_loadu_ps((const float *)p);
                    } else if (type == KL_F16) {
                        column = load_f16(p);
                    } else {
                        __m128i half = _mm_loadu_si128((const __m128i *)p);
                        __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
                        column = _mm256_castsi256_ps(bits);
                    }
                    sum = _mm256_fmadd_ps(column, _mm256_set1_ps((float)block->q[c]), sum);
                }
                __m256 scale = _mm256_set1_ps(block->scale);
                total = _mm256_fmadd_ps(sum, scale, total);
            }
            _mm256_storeu_ps(y + t * y_stride + (group - begin) * KL_LANES, total);
        }
    }
}

#define DEFINE_FLOAT_MATMUL(NAME, name, ...)                                                       \
    void TIER(matmul_##name)(const uint8_t *w, size_t begin, size_t end,                           \
                             const struct kl_activations *x, float *y, size_t y_stride,            \
                             void *scratch)                                                        \
    {                                                                                              \
        (void)scratch;                                                                             \
        float_weights(KL_##NAME, w, begin, end, x, y, y_stride);                                   \
    }

KL_FLOAT_TYPES(DEFINE_FLOAT_MATMUL)

#ifdef __AVX2__
const struct kl_kernels kl_kernels_avx2 =
    TABLE("avx2", false, TIER(swiglu), TIER(attend_f16), TIER(attend_int8));
#else
const struct kl_kernels kl_kernels_sse41 =
    TABLE("sse4.1", false, TIER(swiglu), TIER(attend_f16), TIER(attend_int8));
#endif
