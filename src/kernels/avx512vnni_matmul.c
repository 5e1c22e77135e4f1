/*
 * Matrix products of the AVX-512 VNNI tier. Panels hold two groups side by side, 16 rows to a
 * register; a tile is 16 rows x 8 tokens: 8 sums in int32 and 8 in floats (16 in int32 for Q6_K),
 * and a step of 4 columns is one load of weights and 8 vpdpbusd, which broadcast their 4
 * activations themselves. One to four tokens wait for memory: 256 bits do for them.
 */
#include "kernels/avx2.h"

#define VNNI_DPBUSD _mm256_dpbusd_epi32
#define VNNI_DPWSSD _mm256_dpwssd_epi32
#include "kernels/vnni.h"

/* As KEEP_ORDER, for 512 bits; where these are emulated there is no register to keep them in. */
#ifdef __AVX512F__
#define KEEP_ORDER_512(v) __asm__ volatile("" : "+v"(v))
#else
#define KEEP_ORDER_512(v) (void)(v)
#endif

/* A block of both groups of a panel, in scratch. */
struct panel_block {
    uint8_t q[8][64];
    float d[16], m[16];
    float half[2][16]; /* Q6_K */
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
    for (int half = 0; half < 2 && type == KL_Q6_K; half++)
        _mm256_storeu_ps(out->half[half] + lane, half_scales(block, half));
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        _mm256_storeu_si256((__m256i *)(out->q[g] + 4 * lane),
                            load_unsigned(type, l, block, low, g));
}

INLINE __m512i broadcast_word(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

/* What the weights' offset takes off the sums of a token's blocks, Q6_K: of both halves. Computed
 * once for a tile, in vectors that the compiler makes, and broadcast from there. (The sums that
 * minima meet are not: other ports of the core have time for them.) */
struct token_offsets {
    int32_t of[2][KL_PANEL_BLOCKS];
};

INLINE void prepare_offsets(enum kl_quant type, const int16_t *sums, size_t n_blocks,
                            struct token_offsets *out)
{
    const int offset = type == KL_Q8_HIGH ? 249 : offset_in_sum(type);
    for (size_t b = 0; b < n_blocks && type == KL_Q6_K; b++) {
        out->of[0][b] = -offset * sums[2 * b];
        out->of[1][b] = -offset * sums[2 * b + 1];
    }
    for (size_t b = 0; b < n_blocks && type != KL_Q6_K && offset != 0; b++)
        out->of[0][b] = -offset * (sums[2 * b] + sums[2 * b + 1]);
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
    if (type == KL_Q6_K) {
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

/* add_floats() for 16 rows: the same operations on each. */
INLINE __m512 add_both(struct kl_layout l, const struct panel_block *block, __m512 dot, float scale,
                       const int16_t *sums, __m512 sum)
{
    __m512 factor = _mm512_mul_ps(_mm512_loadu_ps(block->d), _mm512_set1_ps(scale));
    sum = _mm512_fmadd_ps(dot, factor, sum);
    if (l.has_min) {
        float scaled_sum = scale * (float)(sums[0] + sums[1]);
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(block->m), _mm512_set1_ps(scaled_sum), sum);
    }
    return sum;
}

#define TILE_TOKENS 8

/* Rows of outputs of a token: both groups' are side by side. groups: always both. */
INLINE void panel_tile(enum kl_quant type, const struct tile *t, const int groups, const int width)
{
    (void)groups;
    struct kl_layout l = layout_of(type);
    size_t row_blocks = t->x->k / KL_BLOCK;
    const int8_t *q = t->x->q + t->token * t->x->k + t->first_block * KL_BLOCK;
    const float *scale = t->x->scale + t->token * row_blocks + t->first_block;
    const int16_t *sums = t->x->sum + 2 * (t->token * row_blocks + t->first_block);
    const struct panel_block *block = t->panel;

    struct token_offsets offsets[TILE_TOKENS];
    __m512 sum[TILE_TOKENS];
    for (int i = 0; i < width; i++) {
        prepare_offsets(type, sums + 2 * (size_t)i * row_blocks, t->n_blocks, &offsets[i]);
        sum[i] = t->first_block == 0 ? _mm512_setzero_ps()
                                     : _mm512_loadu_ps(t->y + (size_t)i * t->y_stride);
    }
    for (size_t b = 0; b < t->n_blocks; b++, block++, q += KL_BLOCK, scale++, sums += 2) {
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
        for (int i = 0; i < width; i++) {
            __m512 exact = whole_both(type, dot[i], block, &offsets[i], b);
            const int16_t *token_sums = sums + 2 * (size_t)i * row_blocks;
            sum[i] = add_both(l, block, exact, scale[(size_t)i * row_blocks], token_sums, sum[i]);
        }
    }
    for (int i = 0; i < width; i++)
        _mm512_storeu_ps(t->y + (size_t)i * t->y_stride, sum[i]);
}

INLINE int tile_groups(enum kl_quant type)
{
    (void)type;
    return KL_PANEL_GROUPS;
}

INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return TILE_TOKENS;
}

#include "kernels/matmul_driver.h"

const struct kl_kernels kl_kernels_avx512vnni = TABLE("avx512vnni", true);
