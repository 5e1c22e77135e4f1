#include "kernels/packing.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "format/quant_grids.h"
#include "kernels/layout.h"

size_t kl_packed_group_bytes(enum kl_quant type, size_t k)
{
    struct kl_layout l = kl_layout(type);
    if (l.block_bytes == 0 || k == 0 || k % ((size_t)l.super_blocks * KL_BLOCK) != 0)
        return 0;
    return kl_layout_bytes(l, k / KL_BLOCK);
}

/* One block of 32 columns of one row, taken out of the file's layout (ggml-common.h). */
struct row_block {
    uint8_t q[KL_BLOCK]; /* unsigned, codes of a book, or the bits of int8 for Q8_0 */
    uint8_t scale[4];    /* d and m (f16): of the block, or of its super-block */
    uint8_t sub[2];      /* the factors in front of a block, see enum kl_scales */
};

/* ggml's get_scale_min_k4: eight 6-bit scales and minima in 12 bytes */
static void k4_scale_min(const uint8_t *s, size_t j, uint8_t *scale, uint8_t *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (uint8_t)((s[j + 4] & 0x0F) | (s[j - 4] >> 6) << 4);
        *min = (uint8_t)(s[j + 4] >> 4 | (s[j] >> 6) << 4);
    }
}

/* 32 nibbles, columns 0..15 low and 16..31 high, and the fifth bits if qh is not NULL */
static void read_nibbles(const uint8_t *qs, const uint8_t *qh, struct row_block *out)
{
    uint32_t bits = 0;
    if (qh != NULL)
        memcpy(&bits, qh, sizeof bits);
    for (size_t i = 0; i < 16; i++) {
        out->q[i] = (uint8_t)((qs[i] & 0x0F) | ((bits >> i) & 1) << 4);
        out->q[i + 16] = (uint8_t)(qs[i] >> 4 | ((bits >> (i + 16)) & 1) << 4);
    }
}

static void read_k4_k5(const uint8_t *scales, const uint8_t *qh, const uint8_t *qs, size_t j,
                       struct row_block *out)
{
    k4_scale_min(scales, j, &out->sub[0], &out->sub[1]);
    const uint8_t *nibbles = qs + j / 2 * 32;
    for (size_t i = 0; i < 32; i++) {
        unsigned q = j % 2 == 0 ? nibbles[i] & 0x0Fu : nibbles[i] >> 4;
        if (qh != NULL)
            q |= ((qh[i] >> j) & 1u) << 4;
        out->q[i] = (uint8_t)q;
    }
}

/* Two bits of 32 numbers, as Q2_K, Q3_K and TQ2_0 have them in 64 bytes. */
static void read_pairs(const uint8_t *pairs, size_t j, struct row_block *out)
{
    for (size_t i = 0; i < KL_BLOCK; i++)
        out->q[i] = pairs[j / 4 * 32 + i] >> (j % 4 * 2) & 3;
}

static void read_k2(const uint8_t *block, size_t j, struct row_block *out)
{
    read_pairs(block + 16, j, out);
    memcpy(out->sub, block + 2 * j, 2);
    memcpy(out->scale, block + 80, 4);
}

static void read_k3(const uint8_t *block, size_t j, struct row_block *out)
{
    const uint8_t *lower = block + 96, *upper = lower + 8;
    read_pairs(block + 32, j, out);
    for (size_t i = 0; i < KL_BLOCK; i++)
        out->q[i] |= (uint8_t)((block[i] >> j & 1) << 2);
    for (size_t half = 0; half < 2; half++) {
        size_t at = 2 * j + half;
        int scale = lower[at % 8] >> (at / 8 * 4) & 0x0F;
        scale |= (upper[at % 4] >> (at / 4 * 2) & 3) << 4;
        out->sub[half] = (uint8_t)(scale - 32);
    }
    memcpy(out->scale, block + 108, 2);
}

static void read_k6(const uint8_t *block, size_t j, struct row_block *out)
{
    const uint8_t *ql = block + j / 4 * 64 + j % 2 * 32;
    const uint8_t *qh = block + 128 + j / 4 * 32;
    unsigned high = (unsigned)(j % 4) / 2; /* sub-blocks 2 and 3 of a half use the high nibbles */
    for (size_t i = 0; i < 32; i++) {
        unsigned q = high ? ql[i] >> 4 : ql[i] & 0x0Fu;
        q |= ((unsigned)(qh[i] >> (2 * (j % 4))) & 3u) << 4;
        out->q[i] = (uint8_t)q;
    }
    memcpy(out->sub, block + 192 + 2 * j, 2);
    memcpy(out->scale, block + 208, 2);
}

static void read_iq4_xs(const uint8_t *block, size_t j, struct row_block *out)
{
    int scale = block[4 + j / 2] >> (j % 2 * 4) & 0x0F;
    scale |= (block[2 + j / 4] >> (j % 4 * 2) & 3) << 4;
    out->sub[0] = (uint8_t)(scale - 32);
    read_nibbles(block + 8 + 16 * j, NULL, out);
}

/* As Q2_K: the digits 0, 1 and 2 with the factor 1, and with d as a minimum. */
static void read_ternary(const struct kl_quant_type *type, const uint8_t *block, size_t j,
                         struct row_block *out)
{
    for (size_t i = 0; i < KL_BLOCK; i++)
        out->q[i] = (uint8_t)kl_ternary_digit(type->id, block, j * KL_BLOCK + i);
    memset(out->sub, 0x11, 2);
    memcpy(out->scale, block + type->block_bytes - 2, 2);
    memcpy(out->scale + 2, out->scale, 2);
}

/* Reads block b of a row in the file's layout. */
static void read_block(const struct kl_quant_type *type, const uint8_t *row, size_t b,
                       struct row_block *out)
{
    size_t super = type->block_elements / KL_BLOCK;
    const uint8_t *block = row + b / super * type->block_bytes;
    size_t j = b % super;

    memcpy(out->scale, block, sizeof out->scale);
    switch (type->id) {
    case KL_Q4_0:
    case KL_IQ4_NL:
        read_nibbles(block + 2, NULL, out);
        break;
    case KL_Q4_1:
        read_nibbles(block + 4, NULL, out);
        break;
    case KL_Q5_0:
        read_nibbles(block + 6, block + 2, out);
        break;
    case KL_Q5_1:
        read_nibbles(block + 8, block + 4, out);
        break;
    case KL_Q8_0:
        memcpy(out->q, block + 2, KL_BLOCK);
        break;
    case KL_Q2_K:
        read_k2(block, j, out);
        break;
    case KL_Q3_K:
        read_k3(block, j, out);
        break;
    case KL_Q4_K:
        read_k4_k5(block + 4, NULL, block + 16, j, out);
        break;
    case KL_Q5_K:
        read_k4_k5(block + 4, block + 16, block + 48, j, out);
        break;
    case KL_Q6_K:
        read_k6(block, j, out);
        break;
    case KL_IQ3_XXS:
        out->sub[0] = (uint8_t)kl_iq3_xxs_codes(block, j, out->q);
        break;
    case KL_IQ3_S:
        out->sub[0] = (uint8_t)kl_iq3_s_codes(block, j, out->q);
        break;
    case KL_IQ4_XS:
        read_iq4_xs(block, j, out);
        break;
    case KL_TQ1_0:
    case KL_TQ2_0:
        read_ternary(type, block, j, out);
        break;
#define FLOAT(NAME, name, id, numbers, bytes) case KL_##NAME:
        KL_FLOAT_TYPES(FLOAT)
#undef FLOAT
    case KL_Q8_HIGH:
    case KL_Q8_LOW:
        assert(false && "not a block type of files");
    }
}

static float f16_at(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return kl_f16_to_f32(half);
}

/* The bound that kl_packed_residuals() describes, for one row of Q8_0. With d the scales, w the
 * weights and l the low bits less their mean 3.5 (which the product by the upper bits includes),
 * the exact difference is sum_b d_b scale_b (l_b . q_b); twice the inequality of Cauchy and
 * Schwarz: at most sqrt(sum_b |d_b l_b|^2) times the norm of x. Both products are sums of n rounded
 * products, each off by at most (n + 2) / 2^24 of sqrt(sum_b |d_b w_b|^2) + sqrt(sum_b |d_b l_b|^2)
 * times that norm; doubled for what is rounded after them. */
static float residual(const uint8_t *row, size_t n_blocks)
{
    double low_squares = 0.0, squares = 0.0;
    for (size_t b = 0; b < n_blocks; b++, row += KL_Q8_0_BYTES) {
        int low = 0, all = 0; /* squares of twice the numbers, which are whole */
        for (size_t i = 0; i < KL_BLOCK; i++) {
            int w = (int8_t)row[2 + i], l = 2 * (w & 7) - 7;
            low += l * l;
            all += 4 * w * w;
        }
        double d = (double)f16_at(row);
        low_squares += d * d / 4 * low;
        squares += d * d / 4 * all;
    }
    double rounding = 2.0 * 2.0 * ((double)n_blocks + 2.0) * 0x1p-24;
    double bound = sqrt(low_squares) * 1.00001 + rounding * (sqrt(squares) + sqrt(low_squares));
    return nextafterf((float)bound, INFINITY);
}

const float *kl_packed_residuals(const uint8_t *group, size_t k)
{
    const uint8_t *tail = group + kl_packed_group_bytes(KL_Q8_HIGH, k) - KL_LANES * sizeof(float);
    return (const float *)(const void *)tail;
}

/* Two bits, or one, of the weight at `place` of the vector of columns 4g to 4g+3. */
static void put_pair(uint8_t *planes, size_t g, size_t place, unsigned pair)
{
    planes[g / 4 * 32 + place] |= (uint8_t)(pair << (g % 4 * 2));
}

static void put_bit(uint8_t *plane, size_t g, size_t place, unsigned bit)
{
    plane[place] |= (uint8_t)(bit << g);
}

static void write_weight(struct kl_layout l, unsigned q, size_t r, size_t c, uint8_t *out)
{
    size_t g = c / 4, place = 4 * r + c % 4;
    if (l.bits < 4) {
        put_pair(out + l.weights, g, place, q & 3);
        if (l.bits == 3)
            put_bit(out + l.upper, g, place, q >> 2);
        return;
    }
    out[l.weights + g / 2 * 32 + place] |= (uint8_t)((q & 0x0F) << (g % 2 * 4));
    if (l.bits == 5)
        put_bit(out + l.upper, g, place, q >> 4);
    else if (l.bits == 6)
        put_pair(out + l.upper, g, place, q >> 4);
}

static void write_block(enum kl_quant type, struct kl_layout l, const struct row_block *in,
                        size_t r, uint8_t *out)
{
    if (type == KL_Q8_LOW) {
        for (size_t c = 0; c < KL_BLOCK; c++)
            write_weight(l, in->q[c] & 7, r, c, out);
        return;
    }
    if (l.scales == KL_SCALES_PER_BLOCK) {
        memcpy(out + 2 * r, in->scale, 2);
        if (l.has_min)
            memcpy(out + 16 + 2 * r, in->scale + 2, 2);
    } else {
        out[r] = in->sub[0];
        if (l.scales != KL_SCALES_S8)
            out[8 + r] = in->sub[1];
    }
    if (l.bits == 8) {
        for (size_t g = 0; g < 8; g++)
            memcpy(out + l.weights + 32 * g + 4 * r, in->q + 4 * g, 4);
        return;
    }
    for (size_t c = 0; c < KL_BLOCK; c++)
        write_weight(l, type == KL_Q8_HIGH ? (in->q[c] ^ 0x80u) >> 3 : in->q[c], r, c, out);
}

static void pack_floats(enum kl_quant type, const uint8_t *rows, size_t n_rows, size_t k,
                        uint8_t *out)
{
    size_t size = kl_float_bytes(type);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < k; c++)
            memcpy(out + (c * KL_LANES + r) * size, rows + (r * k + c) * size, size);
}

void kl_pack_group(enum kl_quant type, const uint8_t *rows, size_t n_rows, size_t k, uint8_t *out)
{
    size_t bytes = kl_packed_group_bytes(type, k);
    assert(bytes > 0 && n_rows >= 1 && n_rows <= KL_LANES);
    memset(out, 0, bytes);
    bool half = type == KL_Q8_HIGH || type == KL_Q8_LOW;
    const struct kl_quant_type *info = kl_quant_type(half ? KL_Q8_0 : type);
    if (info->block_elements == 1) {
        pack_floats(type, rows, n_rows, k, out);
        return;
    }

    struct kl_layout l = kl_layout(type);
    size_t row_bytes = k / info->block_elements * info->block_bytes;
    for (size_t b = 0; b < k / KL_BLOCK; b++) {
        const uint8_t *out_header;
        const uint8_t *place = kl_layout_block(l, out, b, &out_header);
        uint8_t *block = out + (place - out), *header = out + (out_header - out);
        for (size_t r = 0; r < n_rows; r++) {
            struct row_block in;
            read_block(info, rows + r * row_bytes, b, &in);
            write_block(type, l, &in, r, block);
            for (unsigned i = 0; i < l.header_bytes / 16; i++)
                memcpy(header + 16 * i + 2 * r, in.scale + 2 * i, 2);
        }
    }
    for (size_t r = 0; r < n_rows && type == KL_Q8_HIGH; r++) {
        float bound = residual(rows + r * row_bytes, k / KL_BLOCK);
        memcpy(out + bytes - KL_LANES * sizeof bound + r * sizeof bound, &bound, sizeof bound);
    }
}
