#include "format/quant.h"

#include <string.h>

#include "format/quant_grids.h"

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float kl_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1Fu;
    uint32_t fraction = half & 0x3FFu;
    if (exponent == 0x1F) /* infinity, or NaN with its payload */
        return float_of_bits(sign | 0x7F800000u | fraction << 13);
    if (exponent != 0) /* the bias goes from 15 to 127 */
        return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    /* zero or subnormal: fraction * 2^-24, exact in float */
    float value = (float)fraction * 0x1p-24f;
    return float_of_bits(sign | bits_of_float(value));
}

uint16_t kl_f32_to_f16(float value)
{
    uint32_t bits = bits_of_float(value);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) /* NaN: the top of the payload, made quiet */
        return (uint16_t)(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
    if (magnitude >= 0x477FF000u) /* 65520, halfway between 65504 and 65536, and above */
        return (uint16_t)(sign | 0x7C00u);

    /* `kept` is the result before rounding, `lost` the bits below it, `half` a half of its unit */
    uint32_t kept, lost, half;
    if (magnitude >= 0x38800000u) { /* 2^-14, the smallest normal half */
        kept = (magnitude - 0x38000000u) >> 13;
        lost = magnitude & 0x1FFFu;
        half = 0x1000u;
    } else {
        if (magnitude < 0x33000000u) /* 2^-25: below half of the smallest subnormal */
            return (uint16_t)sign;
        /* the unit is 2^-24, that of the float's fraction 2^(exponent - 150) */
        uint32_t shift = 126 - (magnitude >> 23);
        uint32_t fraction = (magnitude & 0x7FFFFFu) | 0x800000u;
        kept = fraction >> shift;
        lost = fraction & ((1u << shift) - 1);
        half = 1u << (shift - 1);
    }
    /* a carry out of the fraction rightly steps the exponent */
    if (lost > half || (lost == half && (kept & 1u) != 0))
        kept++;
    return (uint16_t)(sign | kept);
}

float kl_bf16_to_f32(uint16_t value)
{
    return float_of_bits((uint32_t)value << 16);
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float load_f16(const uint8_t *p)
{
    return kl_f16_to_f32(load_u16(p));
}

/* ---- types without blocks ------------------------------------------------- */

static void dequantize_f32(const void *blocks, size_t n_blocks, float *out)
{
    memcpy(out, blocks, n_blocks * sizeof *out);
}

static void dequantize_f16(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++)
        out[i] = load_f16(p + 2 * i);
}

static void dequantize_bf16(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++)
        out[i] = kl_bf16_to_f32(load_u16(p + 2 * i));
}

/* ---- blocks of 32 -----------------------------------------------------------------------------
 * d: f16 scale, m: f16 minimum. The nibbles: byte i holds number i (low) and number 16 + i (high).
 * The fifth bits: bit i of a little-endian u32 belongs to number i. */

static void dequantize_q4_0(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q4_0_BYTES, out += KL_BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((p[2 + i] & 0x0F) - 8);
            out[16 + i] = d * (float)((p[2 + i] >> 4) - 8);
        }
    }
}

static void dequantize_q4_1(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q4_1_BYTES, out += KL_BLOCK) {
        float d = load_f16(p);
        float m = load_f16(p + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(p[4 + i] & 0x0F) + m;
            out[16 + i] = d * (float)(p[4 + i] >> 4) + m;
        }
    }
}

/* The 32 numbers 0..31 of a Q5 block from its fifth bits (4 bytes) and nibbles (16 bytes). */
static void unpack_q5(const uint8_t *high, const uint8_t *low, int q[KL_BLOCK])
{
    for (int i = 0; i < 16; i++) {
        int first = (high[i / 8] >> (i % 8)) & 1;
        int second = (high[2 + i / 8] >> (i % 8)) & 1;
        q[i] = (low[i] & 0x0F) | first << 4;
        q[16 + i] = (low[i] >> 4) | second << 4;
    }
}

static void dequantize_q5_0(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q5_0_BYTES, out += KL_BLOCK) {
        int q[KL_BLOCK];
        float d = load_f16(p);
        unpack_q5(p + 2, p + 6, q);
        for (int i = 0; i < KL_BLOCK; i++)
            out[i] = d * (float)(q[i] - 16);
    }
}

static void dequantize_q5_1(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q5_1_BYTES, out += KL_BLOCK) {
        int q[KL_BLOCK];
        float d = load_f16(p);
        float m = load_f16(p + 2);
        unpack_q5(p + 4, p + 8, q);
        for (int i = 0; i < KL_BLOCK; i++)
            out[i] = d * (float)q[i] + m;
    }
}

static void dequantize_q8_0(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q8_0_BYTES, out += KL_BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < KL_BLOCK; i++)
            out[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* ---- numbers from a table ---------------------------------------------------------------------
 * A code of 4 bits is the rank of one of 16 numbers. */

static const uint8_t iq4_book[16] = {KL_IQ4_BOOK};
static const uint8_t iq3_s_book[16] = {KL_IQ3_S_BOOK};
static const uint8_t iq3_xxs_book[16] = {KL_IQ3_XXS_BOOK};

/* 32 codes in 16 bytes, laid out as in Q4_0. */
static void dequantize_iq4(const uint8_t *codes, float d, float out[KL_BLOCK])
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(iq4_book[codes[i] & 0x0F] - KL_IQ4_OFFSET);
        out[16 + i] = d * (float)(iq4_book[codes[i] >> 4] - KL_IQ4_OFFSET);
    }
}

static void dequantize_iq4_nl(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_IQ4_NL_BYTES, out += KL_BLOCK)
        dequantize_iq4(p + 2, load_f16(p), out);
}

/* d: f16; upper 2 bits of the 8 scales, 2 bytes; their lower 4 bits, 4 bytes; 8 times 16 bytes of
 * codes. A scale is 32 less than its 6 bits. */
static void dequantize_iq4_xs(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_IQ4_XS_BYTES, out += KL_SUPER_BLOCK) {
        for (int sub = 0; sub < 8; sub++) {
            int scale = p[4 + sub / 2] >> (sub % 2 * 4) & 0x0F;
            scale |= (load_u16(p + 2) >> (2 * sub) & 3) << 4;
            float d = load_f16(p) * (float)(scale - 32);
            dequantize_iq4(p + 8 + (size_t)sub * 16, d, out + (size_t)sub * KL_BLOCK);
        }
    }
}

static void dequantize_iq3_s(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_IQ3_S_BYTES) {
        for (size_t sub = 0; sub < 8; sub++, out += KL_BLOCK) {
            uint8_t codes[KL_BLOCK];
            float d = load_f16(p) * (float)kl_iq3_s_codes(p, sub, codes);
            for (int i = 0; i < KL_BLOCK; i++)
                out[i] = d * (float)(iq3_s_book[codes[i]] - KL_IQ3_S_OFFSET);
        }
    }
}

static void dequantize_iq3_xxs(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_IQ3_XXS_BYTES) {
        for (size_t sub = 0; sub < 8; sub++, out += KL_BLOCK) {
            uint8_t codes[KL_BLOCK];
            float d = load_f16(p) * (float)kl_iq3_xxs_codes(p, sub, codes) * 0.5f;
            for (int i = 0; i < KL_BLOCK; i++)
                out[i] = d * (float)(iq3_xxs_book[codes[i]] - KL_IQ3_XXS_OFFSET);
        }
    }
}

/* ---- super-blocks of 256 -------------------------------------------------- */

/* Scale and minimum (6 bits each) of the 8 sub-blocks of Q4_K and Q5_K from 12 bytes:
 *   bytes 0-3:  scale 0-3 in the low 6 bits, the top 2 bits of scale 4-7 above them
 *   bytes 4-7:  the same for the minima
 *   bytes 8-11: the low 4 bits of scale 4-7 (low nibble) and of minimum 4-7 (high nibble) */
static void unpack_scales(const uint8_t s[12], uint8_t scale[8], uint8_t minimum[8])
{
    for (int i = 0; i < 4; i++) {
        scale[i] = s[i] & 0x3F;
        minimum[i] = s[4 + i] & 0x3F;
        scale[4 + i] = (uint8_t)((s[8 + i] & 0x0F) | (s[i] >> 6) << 4);
        minimum[4 + i] = (uint8_t)((s[8 + i] >> 4) | (s[4 + i] >> 6) << 4);
    }
}

/* d, dmin: f16; 12 bytes of scales; 4 times 32 bytes of nibbles, the low ones of which are a
 * sub-block of 32 and the high ones the next. */
static void dequantize_q4_k(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q4_K_BYTES, out += KL_SUPER_BLOCK) {
        uint8_t scale[8], minimum[8];
        unpack_scales(p + 4, scale, minimum);
        for (int sub = 0; sub < 8; sub++) {
            const uint8_t *low = p + 16 + (size_t)(sub / 2) * 32;
            int shift = sub % 2 * 4;
            float d = load_f16(p) * (float)scale[sub];
            float m = load_f16(p + 2) * (float)minimum[sub];
            for (int i = 0; i < 32; i++)
                out[sub * 32 + i] = d * (float)((low[i] >> shift) & 0x0F) - m;
        }
    }
}

/* As Q4_K with 32 bytes of fifth bits before the nibbles: bit `sub` of byte i is that of number i
 * of the sub-block. */
static void dequantize_q5_k(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q5_K_BYTES, out += KL_SUPER_BLOCK) {
        uint8_t scale[8], minimum[8];
        unpack_scales(p + 4, scale, minimum);
        const uint8_t *high = p + 16;
        for (int sub = 0; sub < 8; sub++) {
            const uint8_t *low = p + 48 + (size_t)(sub / 2) * 32;
            int shift = sub % 2 * 4;
            float d = load_f16(p) * (float)scale[sub];
            float m = load_f16(p + 2) * (float)minimum[sub];
            for (int i = 0; i < 32; i++) {
                int q = ((low[i] >> shift) & 0x0F) | ((high[i] >> sub) & 1) << 4;
                out[sub * 32 + i] = d * (float)q - m;
            }
        }
    }
}

/* 128 bytes of low nibbles, 64 of high bit pairs, 16 scales (int8, one for 16 numbers), d: f16.
 * Each half of 128 numbers has 64 + 32 of these bytes: numbers 0-63 of it in the low nibbles,
 * 64-127 in the high ones; the pairs of numbers 32k..32k+31 at bit 2k. */
static void dequantize_q6_k(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q6_K_BYTES, out += KL_SUPER_BLOCK) {
        float d = load_f16(p + 208);
        for (int i = 0; i < KL_SUPER_BLOCK; i++) {
            int half = i / 128, in_half = i % 128;
            int low = p[half * 64 + in_half % 64] >> (in_half / 64 * 4) & 0x0F;
            int high = p[128 + half * 32 + i % 32] >> (in_half / 32 * 2) & 0x03;
            float scale = d * (float)(int8_t)p[192 + i / 16];
            out[i] = scale * (float)((low | high << 4) - 32);
        }
    }
}

/* Two bits of number i of 64 bytes: each half of 128 numbers has 32 bytes, numbers 32k..32k+31 at
 * bit 2k. */
static int pair_of(const uint8_t *pairs, int i)
{
    return pairs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

/* 16 bytes, each with the scale (low nibble) and the minimum of 16 numbers; 64 bytes of bits; d,
 * dmin: f16. */
static void dequantize_q2_k(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q2_K_BYTES, out += KL_SUPER_BLOCK) {
        for (int i = 0; i < KL_SUPER_BLOCK; i++) {
            float d = load_f16(p + 80) * (float)(p[i / 16] & 0x0F);
            float m = load_f16(p + 82) * (float)(p[i / 16] >> 4);
            out[i] = d * (float)pair_of(p + 16, i) - m;
        }
    }
}

/* 32 bytes of third bits, laid out as the fifth bits of Q5_K; 64 of lower bits; 16 scales of 6 bits
 * in 12 bytes: scale i has its lower 4 bits in byte i % 8 (the upper nibble from 8 on) and its
 * upper 2 in byte 8 + i % 4 at bit i / 4 * 2; d: f16. A scale is 32 less than its bits, and a
 * number 4 less. */
static void dequantize_q3_k(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_Q3_K_BYTES, out += KL_SUPER_BLOCK) {
        const uint8_t *scales = p + 96;
        for (int i = 0; i < KL_SUPER_BLOCK; i++) {
            int k = i / 16;
            int scale = scales[k % 8] >> (k / 8 * 4) & 0x0F;
            scale |= (scales[8 + k % 4] >> (k / 4 * 2) & 3) << 4;
            int q = pair_of(p + 32, i) | (p[i % 32] >> (i / 32) & 1) << 2;
            out[i] = load_f16(p + 108) * (float)(scale - 32) * (float)(q - 4);
        }
    }
}

/* ---- ternary types ----------------------------------------------------------------------------
 */

unsigned kl_ternary_digit(enum kl_quant type, const uint8_t *block, size_t i)
{
    if (type == KL_TQ2_0)
        return (unsigned)pair_of(block, (int)i);
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    size_t at, digit;
    if (i < 160) { /* 32 bytes */
        at = i % 32;
        digit = i / 32;
    } else if (i < 240) { /* 16 bytes */
        at = 32 + i % 16;
        digit = (i - 160) / 16;
    } else { /* 4 bytes with four digits each */
        at = 48 + i % 4;
        digit = (i - 240) / 4;
    }
    return (uint8_t)(block[at] * powers[digit]) * 3u >> 8;
}

static void dequantize_ternary(enum kl_quant type, const uint8_t *block, float d, float *out)
{
    for (size_t i = 0; i < KL_SUPER_BLOCK; i++)
        out[i] = d * (float)((int)kl_ternary_digit(type, block, i) - 1);
}

static void dequantize_tq1_0(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_TQ1_0_BYTES, out += KL_SUPER_BLOCK)
        dequantize_ternary(KL_TQ1_0, p, load_f16(p + 52), out);
}

static void dequantize_tq2_0(const void *blocks, size_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += KL_TQ2_0_BYTES, out += KL_SUPER_BLOCK)
        dequantize_ternary(KL_TQ2_0, p, load_f16(p + 64), out);
}

/* ---- the table ------------------------------------------------------------ */

static const struct kl_quant_type types[] = {
#define ROW(NAME, name, id, numbers, bytes) {KL_##NAME, #NAME, numbers, bytes, dequantize_##name},
    KL_QUANT_TYPES(ROW)
#undef ROW
};

const struct kl_quant_type *kl_quant_type(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if ((uint32_t)types[i].id == id)
            return &types[i];
    return NULL;
}

const char *kl_quant_names(void)
{
#define NAME_AFTER(NAME, name, id, numbers, bytes) ", " #NAME
    return &KL_QUANT_TYPES(NAME_AFTER)[2];
#undef NAME_AFTER
}
