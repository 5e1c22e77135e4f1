/*
 * The part of the matrix products that the NEON tiers share; they differ in how columns are
 * multiplied. The including file defines before
 *
 *   struct partial                        the sums of one token over 8 rows, in integers
 *   add_columns(type, partial, w, x, g)   adds the products of columns 4g..4g+3; w: 4 columns of 8
 *                                         rows as int8, x: activations 16(g/4) and on of a block
 *   partial_value(partial)                the sums as floats, rows 0..3 and 4..7
 *   partial_times(partial, h, by)         those of rows 4h..4h+3, multiplied; of nothing +0
 *   tile_groups(type), tile_tokens(type)  the tile whose sums the registers hold
 *
 * Weights become int8 when they are unpacked: their offset is subtracted from the bytes, and the
 * sums of the activations serve only the half steps of KL_Q8_HIGH. The integers of a block are
 * below 2^24, so what is done to them in float32 is exact: Q6_K's 16 * 32 * 127 * 128 * 2 =
 * 16646144 is the largest. The multiplication of integers has one pipe in the Cortex-A76, and so
 * has their conversion; floats have two.
 *
 * A tile's float sums stay where they belong, in y: they are touched once for 32 columns, and the
 * registers are full.
 */
#ifndef KL_KERNELS_NEON_PRODUCTS_H
#define KL_KERNELS_NEON_PRODUCTS_H

#include <string.h>

#include "kernels/neon.h"

/* Keeps the order in which the source computes a value; otherwise GCC loads everything first and
 * spills the sums. */
#define KEEP_ORDER(v) __asm__ volatile("" : "+w"(v))

/* Whether sums end after step g. Where a type has factors for 16 columns, they also end in the
 * middle of a block. */
INLINE bool sums_end(enum kl_quant type, int g)
{
    return g == 7 || (has_halves(type) && g == 3);
}

/* ---- unpacking --------------------------------------------------------------------------------
 */

/* The factors of the integer sums of one block, for 8 rows. */
struct block_scales {
    float32x4_t d[2];
    float32x4_t m[2];    /* where the type has a minimum: times the sum of the activations */
    float32x4_t last[2]; /* halves: the rows' factors of columns 16..31, and what has to be */
    float32x4_t more[2]; /* added to them for columns 0..15 */
    uint8x8_t m_half[2]; /* the factors of the minimum's halves */
};

INLINE float32x4x2_t widen_u8(uint8x8_t bytes)
{
    uint16x8_t v = vmovl_u8(bytes);
    return (float32x4x2_t){
        {vcvtq_f32_u32(vmovl_u16(vget_low_u16(v))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(v)))}};
}

INLINE float32x4x2_t load_u8(const uint8_t *p)
{
    return widen_u8(vld1_u8(p));
}

INLINE float32x4x2_t load_s8(const uint8_t *p)
{
    int16x8_t v = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    return (float32x4x2_t){
        {vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(v)))}};
}

/* The factors of d for a half of a block. */
INLINE float32x4x2_t load_factors(struct kl_layout l, const uint8_t *block, int half)
{
    const uint8_t *p = block + KL_LANES * half;
    if (l.scales == KL_SCALES_NIBBLES)
        return widen_u8(vand_u8(vld1_u8(p), vdup_n_u8(0x0F)));
    return load_s8(p);
}

INLINE struct block_scales load_scales(enum kl_quant type, struct kl_layout l,
                                       const uint8_t *header, const uint8_t *block)
{
    const uint8_t *from = l.scales == KL_SCALES_PER_BLOCK ? block : header;
    struct block_scales s = {0};
    for (int h = 0; h < 2; h++) {
        s.d[h] = load_f16(from + 8 * h);
        if (l.has_min)
            s.m[h] = load_f16(from + 16 + 8 * h);
        if (l.scales == KL_SCALES_U8) {
            s.d[h] = vmulq_f32(s.d[h], load_u8(block).val[h]);
            if (l.has_min)
                s.m[h] = vmulq_f32(s.m[h], load_u8(block + 8).val[h]);
        } else if (l.scales == KL_SCALES_S8) {
            s.d[h] = vmulq_f32(s.d[h], load_s8(block).val[h]);
        } else if (has_halves(type)) {
            s.last[h] = load_factors(l, block, 1).val[h];
            s.more[h] = vsubq_f32(load_factors(l, block, 0).val[h], s.last[h]);
        }
        if (has_min_halves(type))
            s.m_half[h] = vshr_n_u8(vld1_u8(block + KL_LANES * h), 4);
        if (l.has_min && l.scales != KL_SCALES_PER_BLOCK) /* of K types it is subtracted */
            s.m[h] = vnegq_f32(s.m[h]);
        if (kl_is_doubled(type))
            s.d[h] = vmulq_n_f32(s.d[h], 0.5f);
    }
    return s;
}

/* 16 bytes of the nibble plane's columns 4g and on: 0..15. */
INLINE uint8x16_t load_nibbles(const uint8_t *plane, int g)
{
    uint8x16_t q = vld1q_u8(plane + g / 2 * 32);
    return g % 2 == 1 ? vshrq_n_u8(q, 4) : vandq_u8(q, vdupq_n_u8(0x0F));
}

/* All bits of a byte if bit g is set there. */
INLINE uint8x16_t test_bit(const uint8_t *plane, int g)
{
    return vtstq_u8(vld1q_u8(plane), vdupq_n_u8((uint8_t)(1 << g)));
}

/* Two bits of a byte, columns 16h+4i+j at bits 2i of plane h. */
INLINE uint8x16_t load_pairs(const uint8_t *planes, int g)
{
    uint8x16_t pairs = vld1q_u8(planes + g / 4 * 32) >> (uint8_t)(g % 4 * 2);
    return g % 4 == 3 ? pairs : vandq_u8(pairs, vdupq_n_u8(3));
}

/* The bits of 4 columns of rows 4h..4h+3, of one part. */
INLINE uint8x16_t load_bits(struct kl_layout l, const uint8_t *block, int g, int h)
{
    const uint8_t *lower = block + l.weights + 16 * h, *upper = block + l.upper + 16 * h;
    if (l.bits == 8)
        return vld1q_u8(lower + 32 * g);
    uint8x16_t q = l.bits < 4 ? load_pairs(lower, g) : load_nibbles(lower, g);
    if (l.bits == 3)
        q = vorrq_u8(q, vandq_u8(vdupq_n_u8(4), test_bit(upper, g)));
    else if (l.bits == 5)
        q = vorrq_u8(q, vandq_u8(vdupq_n_u8(0x10), test_bit(upper, g)));
    else if (l.bits == 6)
        q = vorrq_u8(q, vshlq_n_u8(load_pairs(upper, g), 4));
    return q;
}

/* 4 columns of rows 4h..4h+3 as int8; g is a constant after unrolling. low: only for KL_Q8_LOW,
 * which here stands for both parts together. */
INLINE int8x16_t load_half(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                           const uint8_t *low, int g, int h)
{
    const uint8x16_t offset = vdupq_n_u8((uint8_t)kl_packed_offset(type));
    const uint8_t *book = kl_packed_book(type);
    if (book != NULL)
        return vreinterpretq_s8_u8(
            vqtbl1q_u8(vsubq_u8(vld1q_u8(book), offset), load_bits(l, block, g, h)));
    if (l.bits == 5 && kl_packed_offset(type) == 16) {
        /* less 16: without the fifth bit, the sign and all above the nibble */
        uint8x16_t above = vbicq_u8(vdupq_n_u8(0xF0), test_bit(block + l.upper + 16 * h, g));
        return vreinterpretq_s8_u8(vorrq_u8(load_nibbles(block + l.weights + 16 * h, g), above));
    }
    uint8x16_t q = load_bits(l, block, g, h);
    if (type == KL_Q8_LOW) {
        uint8x16_t lower = load_bits(kl_layout(KL_Q8_LOW), low, g, h);
        q = veorq_u8(vorrq_u8(vshlq_n_u8(q, 3), lower), vdupq_n_u8(0x80)); /* w + 128 to w */
    } else if (kl_packed_offset(type) != 0) {
        q = vsubq_u8(q, offset);
    }
    return vreinterpretq_s8_u8(q);
}

INLINE int8x16x2_t load_columns(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                                const uint8_t *low, int g)
{
    return (int8x16x2_t){
        {load_half(type, l, block, low, g, 0), load_half(type, l, block, low, g, 1)}};
}

/* ---- from integers to outputs -----------------------------------------------------------------
 */

/* Sums that ended at step g as floats. Those of halves go on over both: all columns times the last
 * 16's factor, and the first 16, which the sums were in the middle, times the difference
 * (65024 * 255 at most: exact). */
INLINE float32x4x2_t scaled(enum kl_quant type, const struct block_scales *s,
                            const struct partial *p, float32x4x2_t first_half, int g)
{
    if (has_halves(type) && g < 4)
        return (float32x4x2_t){{partial_times(p, 0, s->more[0]), partial_times(p, 1, s->more[1])}};
    float32x4x2_t value = partial_value(p);
    for (int h = 0; h < 2 && has_halves(type); h++)
        value.val[h] = vfmaq_f32(first_half.val[h], value.val[h], s->last[h]);
    return value;
}

/* The factors that a token's activations of one block have for all rows. Read once, before anything
 * is stored: for all the compiler knows, an output might alias a scale. */
struct token_scales {
    float scale;
    float sum; /* of all; where the type has a minimum, scaled */
    float half_sum[2];
};

INLINE struct token_scales token_scales(enum kl_quant type, struct kl_layout l,
                                        const struct kl_activations *x, size_t t, size_t b)
{
    size_t at = t * (x->k / KL_BLOCK) + b;
    const struct kl_int8_block *block = &x->blocks[at];
    struct token_scales a = {.scale = block->scale};
    if (l.has_min)
        a.sum = block->scaled_sum;
    else if (type == KL_Q8_HIGH)
        a.sum = (float)-block->minus_sum;
    for (int half = 0; half < 2 && has_min_halves(type); half++)
        a.half_sum[half] = (float)block->half_sum[half];
    return a;
}

/* Adds the integers of a block to an output; every path ends here. */
INLINE float32x4_t add_block(enum kl_quant type, struct kl_layout l, const struct block_scales *s,
                             int h, float32x4_t dot, struct token_scales a, float32x4_t sum)
{
    if (type == KL_Q8_HIGH) /* twice 8 * w + 3.5; w: less 16 */
        dot = vfmaq_n_f32(vdupq_n_f32(7.0f * a.sum), dot, 16.0f);
    sum = vfmaq_f32(sum, dot, vmulq_n_f32(s->d[h], a.scale));
    if (has_min_halves(type)) {
        float32x4_t both = vmulq_n_f32(widen_u8(s->m_half[0]).val[h], a.half_sum[0]);
        both = vfmaq_n_f32(both, widen_u8(s->m_half[1]).val[h], a.half_sum[1]);
        sum = vfmaq_f32(sum, s->m[h], vmulq_n_f32(both, a.scale));
    } else if (l.has_min) {
        sum = vfmaq_n_f32(sum, s->m[h], a.sum);
    }
    return sum;
}

/* ---- few tokens -------------------------------------------------------------------------------
 */

/* The integers of one block, for up to four tokens whose rows are n_blocks apart. */
INLINE void few_dots(enum kl_quant type, struct kl_layout l, const struct block_scales *s,
                     const uint8_t *block, const uint8_t *low, const struct kl_int8_block *in,
                     size_t n_blocks, const int width, float32x4x2_t dot[MOST_FEW])
{
    struct partial partial[MOST_FEW];
    int8x16_t x[MOST_FEW];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        int8x16x2_t columns = load_columns(type, l, block, low, g);
#pragma GCC unroll 4
        for (int i = 0; i < width; i++) {
            if (g % 4 == 0)
                x[i] = vld1q_s8(in[(size_t)i * n_blocks].q + 4 * g);
            add_columns(type, &partial[i], columns, x[i], g);
            if (sums_end(type, g))
                dot[i] = scaled(type, s, &partial[i], dot[i], g);
        }
    }
}

/* For matmul_driver.h. */
typedef float32x4x2_t lanes;

INLINE lanes zero_lanes(void)
{
    return (lanes){{vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)}};
}

INLINE void store_lanes(float *y, lanes v)
{
    vst1q_f32(y, v.val[0]);
    vst1q_f32(y + 4, v.val[1]);
}

/* A block's part of the outputs of a few tokens, unpacked in registers. */
INLINE void add_few(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                    const uint8_t *block, const uint8_t *low, const struct kl_activations *x,
                    size_t b, const int width, lanes sum[MOST_FEW])
{
    struct block_scales s = load_scales(type, l, header, block);
    float32x4x2_t dot[MOST_FEW] = {0};
    few_dots(type, l, &s, block, low, x->blocks + b, x->k / KL_BLOCK, width, dot);
#pragma GCC unroll 4
    for (int i = 0; i < width; i++) {
        struct token_scales a = token_scales(type, l, x, (size_t)i, b);
        for (int h = 0; h < 2; h++)
            sum[i].val[h] = add_block(type, l, &s, h, dot[i].val[h], a, sum[i].val[h]);
    }
}

/* ---- many tokens ------------------------------------------------------------------------------
 */

/* A block of a panel: at most KL_PANEL_BYTES in scratch. */
struct panel_block {
    int8_t q[8][32];
    float d[8], m[8], last[8], more[8];
    uint8_t m_half[2][8];
};
_Static_assert(sizeof(struct panel_block) <= KL_PANEL_BYTES, "KL_PANEL_BYTES");

INLINE void store_scales(enum kl_quant type, struct kl_layout l, struct block_scales s,
                         struct panel_block *out)
{
    for (int h = 0; h < 2; h++) {
        vst1q_f32(out->d + 4 * h, s.d[h]);
        if (l.has_min)
            vst1q_f32(out->m + 4 * h, s.m[h]);
        if (has_halves(type)) {
            vst1q_f32(out->last + 4 * h, s.last[h]);
            vst1q_f32(out->more + 4 * h, s.more[h]);
        }
        if (has_min_halves(type))
            vst1_u8(out->m_half[h], s.m_half[h]);
    }
}

INLINE struct block_scales panel_scales(enum kl_quant type, struct kl_layout l,
                                        const struct panel_block *in)
{
    struct block_scales s = {0};
    for (int h = 0; h < 2; h++) {
        s.d[h] = vld1q_f32(in->d + 4 * h);
        if (l.has_min)
            s.m[h] = vld1q_f32(in->m + 4 * h);
        if (has_halves(type)) {
            s.last[h] = vld1q_f32(in->last + 4 * h);
            s.more[h] = vld1q_f32(in->more + 4 * h);
        }
        if (has_min_halves(type))
            s.m_half[h] = vld1_u8(in->m_half[h]);
    }
    return s;
}

INLINE const struct panel_block *panel_block_of(const struct tile *t, int group, size_t b)
{
    return (const struct panel_block *)t->panel + (size_t)group * KL_PANEL_BLOCKS + b;
}

#endif
