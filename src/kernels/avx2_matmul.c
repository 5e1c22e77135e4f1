/*
 * Matrix products of the AVX2 tier.
 *
 * 8 rows are 8 lanes. For a group of 4 columns, 32 bytes hold 4 weights of each row; one 4-byte
 * broadcast of activations meets them in vpmaddubsw (unsigned weight x signed activation, pairs
 * added in int16), and sums stay in int16 as long as they can not overflow:
 *   4-bit weights: 15 * 127 * 2 = 3810 a step, 8 steps = 30480
 *   5-bit weights: 31 * 127 * 2 = 7874 a step, 4 steps = 31496
 *   6-bit weights: 63 * 127 * 2 = 16002 a step, 2 steps = 32004      (all below 32767)
 * then vpmaddwd widens to int32 (with Q6_K's 8-bit scales as its other operand). Weights are kept
 * unsigned; their offset (8, 16, 32) leaves through the sums of the activations. Q8_0 is signed:
 * |w| * sign(x, w), 128 * 127 * 2 = 32512, widened at each step.
 *
 * Up to four tokens read the packed weights once and unpack in registers. More of them unpack
 * panels of two groups into L1 first and run over them in tiles of 2 groups x 4 tokens: a step of 4
 * columns is then 2 loads of weights and 4 broadcasts for 8 products, below the 2 loads a cycle
 * that Zen and Haswell can do, and the 8 int16 sums, 2 weights, a broadcast and a product leave the
 * int32 and float sums to the stack, where they are touched once in 8 steps.
 */
#include <math.h>
#include <string.h>

#include "kernels/avx2.h"

/* Eight rows of one block: what the integer sums are multiplied with. */
struct block_scales {
    __m256 d;
    __m256 m;      /* where the type has a minimum: times the sum of the activations */
    __m256i half0; /* Q6_K: int16, each row's scale of columns 0..15 in both of its places */
    __m256i half1; /* columns 16..31 */
    __m256i both;  /* and one of each: what the two sums of the activations meet */
};

INLINE __m256 load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256 load_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

INLINE struct block_scales load_scales(enum kl_quant type, struct kl_layout l,
                                       const uint8_t *header, const uint8_t *block)
{
    struct block_scales s = {0};
    if (type == KL_Q4_K || type == KL_Q5_K) {
        s.d = _mm256_mul_ps(load_f16(header), load_u8(block));
        s.m = _mm256_mul_ps(load_f16(header + 16), load_u8(block + 8));
        s.m = _mm256_xor_ps(s.m, _mm256_set1_ps(-0.0f));
    } else if (type == KL_Q6_K) {
        const __m256i low = _mm256_set1_epi32(0xFFFF);
        __m256i a = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)block));
        __m256i b = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(block + 8)));
        s.d = load_f16(header);
        s.half0 = _mm256_or_si256(_mm256_and_si256(a, low), _mm256_slli_epi32(a, 16));
        s.half1 = _mm256_or_si256(_mm256_and_si256(b, low), _mm256_slli_epi32(b, 16));
        s.both = _mm256_or_si256(_mm256_and_si256(a, low), _mm256_slli_epi32(b, 16));
    } else {
        s.d = load_f16(block);
        if (type == KL_Q8_HIGH)
            s.d = _mm256_mul_ps(s.d, _mm256_set1_ps(0.5f)); /* its integers are doubled */
        if (l.has_min)
            s.m = load_f16(block + 16);
    }
    return s;
}

/* 4 columns of 8 rows as bytes, of one part. */
INLINE __m256i load_columns_of(enum kl_quant type, struct kl_layout l, const uint8_t *block, int g)
{
    const uint8_t *p = block + l.nibbles;
    if (type == KL_Q8_0)
        return _mm256_loadu_si256((const __m256i *)(p + 32 * g));
    __m256i q = _mm256_loadu_si256((const __m256i *)(p + g / 2 * 32));
    if (g % 2 == 1)
        q = _mm256_srli_epi16(q, 4);
    q = _mm256_and_si256(q, _mm256_set1_epi8(0x0F));
    if (l.bits == 0)
        return q;

    /* bring the upper bits of this group to bits 4 and 5 */
    const uint8_t *upper = block + l.bits + (type == KL_Q6_K ? g / 4 * 32 : 0);
    __m256i bits = _mm256_loadu_si256((const __m256i *)upper);
    int from = type == KL_Q6_K ? g % 4 * 2 : g;
    bits = from < 4 ? _mm256_slli_epi16(bits, 4 - from) : _mm256_srli_epi16(bits, from - 4);
    bits = _mm256_and_si256(bits, _mm256_set1_epi8(type == KL_Q6_K ? 0x30 : 0x10));
    return _mm256_or_si256(q, bits);
}

/* The same; g is a constant after unrolling. low: only for KL_Q8_LOW, which here
 * stands for both parts together. */
INLINE __m256i load_columns(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                            const uint8_t *low, int g)
{
    if (type == KL_Q8_LOW) {
        __m256i high = load_columns_of(KL_Q8_HIGH, l, block, g);
        __m256i two = _mm256_loadu_si256((const __m256i *)(low + g / 4 * 32));
        __m256i third = _mm256_loadu_si256((const __m256i *)(low + 64));
        two = _mm256_and_si256(_mm256_srli_epi16(two, g % 4 * 2), _mm256_set1_epi8(3));
        third = g < 2 ? _mm256_slli_epi16(third, 2 - g) : _mm256_srli_epi16(third, g - 2);
        third = _mm256_and_si256(third, _mm256_set1_epi8(4));
        __m256i all = _mm256_or_si256(_mm256_or_si256(two, third), _mm256_slli_epi16(high, 3));
        return _mm256_xor_si256(all, _mm256_set1_epi8(-128)); /* w + 128 to w */
    }
    return load_columns_of(type, l, block, g);
}

INLINE __m256i broadcast4(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}

/* What is subtracted from every weight, negated, as the factor of the activations' sums. */
INLINE __m256i offset_of(enum kl_quant type, struct block_scales s, const int16_t *sums)
{
    if (type == KL_Q4_0)
        return _mm256_madd_epi16(broadcast4(sums), _mm256_set1_epi16(-8));
    if (type == KL_Q5_0)
        return _mm256_madd_epi16(broadcast4(sums), _mm256_set1_epi16(-16));
    if (type == KL_Q8_HIGH) /* twice 8 * (u - 16) + 3.5 = 16 u - 249 */
        return _mm256_madd_epi16(broadcast4(sums), _mm256_set1_epi16(-249));
    if (type == KL_Q6_K) {
        __m256i scaled = _mm256_madd_epi16(broadcast4(sums), s.both);
        return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(scaled, 5));
    }
    return _mm256_setzero_si256();
}

/* 8-bit weights: the others are unsigned, their offset is taken off afterwards. */
INLINE bool is_signed(enum kl_quant type)
{
    return type == KL_Q8_0 || type == KL_Q8_LOW;
}

/* How many steps of 4 columns may be added up in int16 (the head of this file). */
INLINE int steps_in_16_bits(enum kl_quant type)
{
    if (is_signed(type))
        return 1;
    if (type == KL_Q6_K)
        return 2;
    return type == KL_Q4_0 || type == KL_Q4_1 || type == KL_Q4_K ? 8 : 4;
}

/* 4 columns of one token. w_signed: only for 8-bit weights, whose |w| is w. */
INLINE __m256i multiply(enum kl_quant type, __m256i w, __m256i w_signed, const int8_t *q)
{
    __m256i x = broadcast4(q);
    if (is_signed(type))
        x = _mm256_sign_epi8(x, w_signed);
    return _mm256_maddubs_epi16(w, x);
}

INLINE __m256i widen(enum kl_quant type, struct block_scales s, __m256i sum16, int g)
{
    if (type == KL_Q6_K)
        return _mm256_madd_epi16(sum16, g < 4 ? s.half0 : s.half1);
    return _mm256_madd_epi16(sum16, _mm256_set1_epi16(type == KL_Q8_HIGH ? 16 : 1));
}

/* The one place where a block's integers become part of an output: every path ends here. */
INLINE __m256 add_block(struct kl_layout l, struct block_scales s, __m256i dot, float scale,
                        const int16_t *sums, __m256 sum)
{
    __m256 factor = _mm256_mul_ps(s.d, _mm256_set1_ps(scale));
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), factor, sum);
    if (l.has_min) {
        float scaled_sum = scale * (float)(sums[0] + sums[1]);
        sum = _mm256_fmadd_ps(s.m, _mm256_set1_ps(scaled_sum), sum);
    }
    return sum;
}

/* Of w in the products below: of both parts, the high one, which holds the scales. */
INLINE struct kl_layout layout_of(enum kl_quant type)
{
    return kl_layout(type == KL_Q8_LOW ? KL_Q8_HIGH : type);
}

/* Block b of a group of the low part; NULL where there is none. */
INLINE const uint8_t *low_block(enum kl_quant type, const uint8_t *low, size_t n_blocks,
                                size_t group, size_t b)
{
    return type == KL_Q8_LOW ? low + (group * n_blocks + b) * kl_layout(KL_Q8_LOW).block_bytes
                             : NULL;
}

enum { MOST_FEW = 4 };

/* Keeps a value, and with it the order of the steps, as they are written. Left alone, GCC turns the
 * chains of sums into trees and loads everything first, which spills half of the registers: 80
 * instead of 120 GMAC/s (SPEED.md). */
#define KEEP_ORDER(v) __asm__ volatile("" : "+x"(v))

/* One to four tokens: the weights go by once, unpacked in registers. */
INLINE void few_tokens(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t begin,
                       size_t end, const struct kl_activations *x, float *y, size_t y_stride,
                       const int width)
{
    struct kl_layout l = layout_of(type);
    const int steps = steps_in_16_bits(type);
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    /* Long rows of several tokens do not stay in L1 beside the weights, and reading them holds the
     * weights up: 4 tokens x 4864 columns are half as fast again when asked for (SPEED.md). */
    const size_t ahead = width > 1 && n_blocks > KL_PANEL_BLOCKS ? 4096 : 0;
    for (size_t group = begin; group < end; group++) {
        __m256 sum[MOST_FEW];
        for (int i = 0; i < width; i++)
            sum[i] = _mm256_setzero_ps();
        for (size_t b = 0; b < n_blocks; b++) {
            const uint8_t *header;
            const uint8_t *block = kl_layout_block(l, w + group * group_bytes, b, &header);
            const uint8_t *lower = low_block(type, low, n_blocks, group, b);
            struct block_scales s = load_scales(type, l, header, block);
            const int8_t *q = x->q + b * KL_BLOCK;
            const int16_t *sums = x->sum + 2 * b;
            for (unsigned line = 0; ahead > 0 && line < l.block_bytes; line += 64)
                _mm_prefetch((const char *)block + ahead + line, _MM_HINT_T0);
            __m256i dot[MOST_FEW], sum16[MOST_FEW];
#pragma GCC unroll 8
            for (int g = 0; g < 8; g++) {
                __m256i columns = load_columns(type, l, block, lower, g);
                __m256i size = is_signed(type) ? _mm256_abs_epi8(columns) : columns;
#pragma GCC unroll 4
                for (int i = 0; i < width; i++) {
                    __m256i p = multiply(type, size, columns, q + (size_t)i * x->k + 4 * g);
                    sum16[i] = g % steps == 0 ? p : _mm256_add_epi16(sum16[i], p);
                    KEEP_ORDER(sum16[i]);
                    if (g % steps != steps - 1)
                        continue;
                    __m256i wide = widen(type, s, sum16[i], g);
                    dot[i] = g == steps - 1 ? wide : _mm256_add_epi32(dot[i], wide);
                }
            }
#pragma GCC unroll 4
            for (int i = 0; i < width; i++) {
                const int16_t *token_sums = sums + 2 * (size_t)i * n_blocks;
                __m256i exact = _mm256_add_epi32(dot[i], offset_of(type, s, token_sums));
                float scale = x->scale[(size_t)i * n_blocks + b];
                sum[i] = add_block(l, s, exact, scale, token_sums, sum[i]);
            }
        }
        for (int i = 0; i < width; i++)
            _mm256_storeu_ps(y + (size_t)i * y_stride + (group - begin) * KL_LANES, sum[i]);
    }
}

/* All tokens, four at a time: each type's own function, compiled once. */
typedef void fours_fn(const uint8_t *w, const uint8_t *low, size_t begin, size_t end,
                      const struct kl_activations *x, float *y, size_t y_stride);

INLINE void fours(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t begin,
                  size_t end, const struct kl_activations *x, float *y, size_t y_stride)
{
    struct kl_activations rest = *x;
    while (rest.n > 0) {
        size_t n = rest.n < MOST_FEW ? rest.n : MOST_FEW;
        if (n == 1)
            few_tokens(type, w, low, begin, end, &rest, y, y_stride, 1);
        else if (n == 2)
            few_tokens(type, w, low, begin, end, &rest, y, y_stride, 2);
        else if (n == 3)
            few_tokens(type, w, low, begin, end, &rest, y, y_stride, 3);
        else
            few_tokens(type, w, low, begin, end, &rest, y, y_stride, 4);
        rest.n -= n;
        rest.q += n * rest.k;
        rest.scale += n * (rest.k / KL_BLOCK);
        rest.sum += n * (rest.k / 16);
        y += n * y_stride;
    }
}

/* A block of a panel: KL_PANEL_BYTES in scratch. */
struct panel_block {
    uint8_t q[8][32]; /* Q8_0: signed */
    float d[8], m[8];
    int16_t half0[16], half1[16], both[16];
};
_Static_assert(sizeof(struct panel_block) == KL_PANEL_BYTES, "KL_PANEL_BYTES");

INLINE void unpack_block(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                         const uint8_t *block, const uint8_t *low, struct panel_block *out)
{
    struct block_scales s = load_scales(type, l, header, block);
    _mm256_storeu_ps(out->d, s.d);
    if (l.has_min)
        _mm256_storeu_ps(out->m, s.m);
    if (type == KL_Q6_K) {
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
    if (type == KL_Q6_K) {
        s.half0 = _mm256_loadu_si256((const __m256i *)in->half0);
        s.half1 = _mm256_loadu_si256((const __m256i *)in->half1);
        s.both = _mm256_loadu_si256((const __m256i *)in->both);
    }
    return s;
}

/* What a tile works on: a constant number of groups and tokens, from `block` of the row on. */
struct tile {
    const struct panel_block *panel; /* [groups][KL_PANEL_BLOCKS] */
    size_t n_blocks;
    const struct kl_activations *x;
    size_t token, first_block;
    float *y; /* outputs of the token, first group */
    size_t y_stride;
};

/* 4 columns of the tile's groups and tokens: step g of the block. */
INLINE void tile_step(enum kl_quant type, const struct tile *t, size_t b, const int8_t *q, int g,
                      const int groups, const int width, __m256i sum16[2][4], __m256i dot[2][4])
{
    const int steps = steps_in_16_bits(type);
    __m256i columns[2], size[2];
#pragma GCC unroll 2
    for (int j = 0; j < groups; j++) {
        const struct panel_block *block = t->panel + (size_t)j * KL_PANEL_BLOCKS + b;
        columns[j] = _mm256_loadu_si256((const __m256i *)block->q[g]);
        KEEP_ORDER(columns[j]);
        size[j] = is_signed(type) ? _mm256_abs_epi8(columns[j]) : columns[j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < width; i++) {
        __m256i x = broadcast4(q + (size_t)i * t->x->k + 4 * g);
        KEEP_ORDER(x);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            __m256i signed_x = is_signed(type) ? _mm256_sign_epi8(x, columns[j]) : x;
            __m256i p = _mm256_maddubs_epi16(size[j], signed_x);
            sum16[j][i] = g % steps == 0 ? p : _mm256_add_epi16(sum16[j][i], p);
            KEEP_ORDER(sum16[j][i]);
            if (g % steps != steps - 1)
                continue;
            const struct panel_block *block = t->panel + (size_t)j * KL_PANEL_BLOCKS + b;
            __m256i wide = widen(type, panel_scales(type, layout_of(type), block), sum16[j][i], g);
            dot[j][i] = g == steps - 1 ? wide : _mm256_add_epi32(dot[j][i], wide);
        }
    }
}

INLINE void panel_tile(enum kl_quant type, const struct tile *t, const int groups, const int width)
{
    struct kl_layout l = layout_of(type);
    size_t row_blocks = t->x->k / KL_BLOCK;
    const int8_t *q = t->x->q + t->token * t->x->k + t->first_block * KL_BLOCK;
    const float *scale = t->x->scale + t->token * row_blocks + t->first_block;
    const int16_t *sums = t->x->sum + 2 * (t->token * row_blocks + t->first_block);

    __m256 sum[2][4];
    for (int j = 0; j < groups; j++)
        for (int i = 0; i < width; i++)
            sum[j][i] = t->first_block == 0
                            ? _mm256_setzero_ps()
                            : _mm256_loadu_ps(t->y + (size_t)i * t->y_stride + j * KL_LANES);
    for (size_t b = 0; b < t->n_blocks; b++, q += KL_BLOCK, scale++, sums += 2) {
        __m256i sum16[2][4], dot[2][4];
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++)
            tile_step(type, t, b, q, g, groups, width, sum16, dot);
#pragma GCC unroll 2
        for (int j = 0; j < groups; j++) {
            struct block_scales s =
                panel_scales(type, l, t->panel + (size_t)j * KL_PANEL_BLOCKS + b);
#pragma GCC unroll 4
            for (int i = 0; i < width; i++) {
                const int16_t *token_sums = sums + 2 * (size_t)i * row_blocks;
                __m256i exact = _mm256_add_epi32(dot[j][i], offset_of(type, s, token_sums));
                sum[j][i] =
                    add_block(l, s, exact, scale[(size_t)i * row_blocks], token_sums, sum[j][i]);
            }
        }
    }
    for (int j = 0; j < groups; j++)
        for (int i = 0; i < width; i++)
            _mm256_storeu_ps(t->y + (size_t)i * t->y_stride + j * KL_LANES, sum[j][i]);
}

/* All tokens over the panels of `groups` groups. */
INLINE void panel_tokens(enum kl_quant type, struct tile t, const int groups)
{
    float *y = t.y;
    for (; t.token + 4 <= t.x->n; t.token += 4) {
        t.y = y + t.token * t.y_stride;
        panel_tile(type, &t, groups, 4);
    }
    t.y = y + t.token * t.y_stride;
    if (t.x->n - t.token == 3)
        panel_tile(type, &t, groups, 3);
    else if (t.x->n - t.token == 2)
        panel_tile(type, &t, groups, 2);
    else if (t.x->n - t.token == 1)
        panel_tile(type, &t, groups, 1);
}

/* Blocks [first, first + n) of `groups` groups into the panel. Unpacking comes in bursts, which
 * would wait for memory, so each block asks for the one at its place in the next panel, `ahead`
 * bytes on: the tiles between leave time enough. (Past the end of the weights it asks in vain.) */
INLINE void unpack_panel(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t n_blocks,
                         size_t group, size_t groups, size_t first, size_t n, size_t ahead,
                         struct panel_block *panel)
{
    struct kl_layout l = layout_of(type);
    size_t group_bytes = kl_layout_bytes(l, n_blocks);
    for (size_t j = 0; j < groups; j++) {
        for (size_t b = 0; b < n; b++) {
            const uint8_t *header;
            const uint8_t *block =
                kl_layout_block(l, w + (group + j) * group_bytes, first + b, &header);
            for (unsigned line = 0; line < l.block_bytes; line += 64)
                _mm_prefetch((const char *)block + ahead + line, _MM_HINT_T1);
            unpack_block(type, l, header, block,
                         low_block(type, low, n_blocks, group + j, first + b),
                         panel + j * KL_PANEL_BLOCKS + b);
        }
    }
}

INLINE void many_tokens(enum kl_quant type, fours_fn *in_fours, const uint8_t *w,
                        const uint8_t *low, size_t begin, size_t end,
                        const struct kl_activations *x, float *y, size_t y_stride, void *scratch)
{
    struct kl_layout l = layout_of(type);
    struct panel_block *panel = scratch;
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    size_t panel_bytes = kl_layout_bytes(l, KL_PANEL_BLOCKS) - l.tail_bytes;
    /* 8-bit weights widen at every step: their int32 sums must stay in registers */
    const int tile_groups = is_signed(type) ? 1 : KL_PANEL_GROUPS;
    const size_t groups = (size_t)tile_groups;
    size_t group = begin;
    for (; group + groups <= end && x->n > MOST_FEW; group += groups) {
        for (size_t first = 0; first < n_blocks; first += KL_PANEL_BLOCKS) {
            size_t left = n_blocks - first, before = first / KL_PANEL_BLOCKS * panel_bytes;
            size_t n = left < KL_PANEL_BLOCKS ? left : KL_PANEL_BLOCKS;
            size_t ahead = left > n ? panel_bytes : groups * group_bytes - before;
            unpack_panel(type, w, low, n_blocks, group, groups, first, n, ahead, panel);
            struct tile t = {.panel = panel,
                             .n_blocks = n,
                             .x = x,
                             .first_block = first,
                             .y = y + (group - begin) * KL_LANES,
                             .y_stride = y_stride};
            panel_tokens(type, t, tile_groups);
        }
    }
    if (group < end)
        in_fours(w, low, group, end, x, y + (group - begin) * KL_LANES, y_stride);
}

/* Float weights, column by column. Rare (a model that was not quantised), so tokens go one by one.
 */
INLINE void float_weights(enum kl_quant type, const uint8_t *w, size_t begin, size_t end,
                          const struct kl_activations *x, float *y, size_t y_stride)
{
    size_t n_blocks = x->k / KL_BLOCK;
    size_t element = type == KL_F32 ? 4 : 2;
    for (size_t group = begin; group < end; group++) {
        for (size_t t = 0; t < x->n; t++) {
            const uint8_t *p = w + group * x->k * KL_LANES * element;
            __m256 total = _mm256_setzero_ps();
            for (size_t b = 0; b < n_blocks; b++) {
                const int8_t *q = x->q + t * x->k + b * KL_BLOCK;
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
                    sum = _mm256_fmadd_ps(column, _mm256_set1_ps((float)q[c]), sum);
                }
                __m256 scale = _mm256_set1_ps(x->scale[t * n_blocks + b]);
                total = _mm256_fmadd_ps(sum, scale, total);
            }
            _mm256_storeu_ps(y + t * y_stride + (group - begin) * KL_LANES, total);
        }
    }
}

#define DEFINE_MATMUL(name, type)                                                                  \
    static void name##_fours(const uint8_t *w, const uint8_t *low, size_t begin, size_t end,       \
                             const struct kl_activations *x, float *y, size_t y_stride)            \
    {                                                                                              \
        fours(type, w, low, begin, end, x, y, y_stride);                                           \
    }                                                                                              \
    void name(const uint8_t *w, size_t begin, size_t end, const struct kl_activations *x,          \
              float *y, size_t y_stride, void *scratch)                                            \
    {                                                                                              \
        many_tokens(type, name##_fours, w, NULL, begin, end, x, y, y_stride, scratch);             \
    }

static void halves_fours(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                         const struct kl_activations *x, float *y, size_t y_stride)
{
    fours(KL_Q8_LOW, high, low, begin, end, x, y, y_stride);
}

void kl_avx2_matmul_halves(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                           const struct kl_activations *x, float *y, size_t y_stride, void *scratch)
{
    many_tokens(KL_Q8_LOW, halves_fours, high, low, begin, end, x, y, y_stride, scratch);
}

#define DEFINE_FLOAT_MATMUL(name, type)                                                            \
    void name(const uint8_t *w, size_t begin, size_t end, const struct kl_activations *x,          \
              float *y, size_t y_stride, void *scratch)                                            \
    {                                                                                              \
        (void)scratch;                                                                             \
        float_weights(type, w, begin, end, x, y, y_stride);                                        \
    }

DEFINE_MATMUL(kl_avx2_matmul_q4_0, KL_Q4_0)
DEFINE_MATMUL(kl_avx2_matmul_q4_1, KL_Q4_1)
DEFINE_MATMUL(kl_avx2_matmul_q5_0, KL_Q5_0)
DEFINE_MATMUL(kl_avx2_matmul_q5_1, KL_Q5_1)
DEFINE_MATMUL(kl_avx2_matmul_q8_0, KL_Q8_0)
DEFINE_MATMUL(kl_avx2_matmul_q8_high, KL_Q8_HIGH)
DEFINE_MATMUL(kl_avx2_matmul_q4_k, KL_Q4_K)
DEFINE_MATMUL(kl_avx2_matmul_q5_k, KL_Q5_K)
DEFINE_MATMUL(kl_avx2_matmul_q6_k, KL_Q6_K)
DEFINE_FLOAT_MATMUL(kl_avx2_matmul_f32, KL_F32)
DEFINE_FLOAT_MATMUL(kl_avx2_matmul_f16, KL_F16)
DEFINE_FLOAT_MATMUL(kl_avx2_matmul_bf16, KL_BF16)
