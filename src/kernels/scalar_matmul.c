/*
 * Matrix products of the scalar tier.
 */
#include <math.h>
#include <string.h>

#include "kernels/scalar.h"

/* A block of 8 rows x 32 columns as the integers that meet the activations: the offset is taken
 * off and the factors of half blocks are multiplied in. */
struct block_integers {
    int16_t w[KL_LANES][KL_BLOCK];
    float d[KL_LANES];
    float m[KL_LANES];           /* factor of the sum of the activations */
    int16_t m_half[KL_LANES][2]; /* the factors of m for each half: 1, but in Q2_K */
};

static float load_f16(const uint8_t *p, size_t i)
{
    uint16_t half;
    memcpy(&half, p + 2 * i, sizeof half);
    return kl_f16_to_f32(half);
}

static void unpack_scales(enum kl_quant type, struct kl_layout l, const uint8_t *header,
                          const uint8_t *block, struct block_integers *out)
{
    const uint8_t *from = l.scales == KL_SCALES_PER_BLOCK ? block : header;
    for (size_t r = 0; r < KL_LANES; r++) {
        out->d[r] = load_f16(from, r);
        out->m[r] = l.has_min ? load_f16(from, 8 + r) : 0.0f;
        out->m_half[r][0] = out->m_half[r][1] = 1;
        if (l.scales == KL_SCALES_U8) {
            out->d[r] *= (float)block[r];
            out->m[r] *= -(float)block[8 + r];
        } else if (l.scales == KL_SCALES_S8) {
            out->d[r] *= (float)(int8_t)block[r];
        } else if (l.scales == KL_SCALES_NIBBLES) {
            out->m[r] = -out->m[r];
            out->m_half[r][0] = block[r] >> 4;
            out->m_half[r][1] = block[8 + r] >> 4;
        }
        if (kl_is_doubled(type))
            out->d[r] *= 0.5f;
    }
}

/* Returns the bits of row r, column c. */
static int unpack_bits(struct kl_layout l, const uint8_t *block, size_t r, size_t c)
{
    size_t g = c / 4, place = 4 * r + c % 4;
    const uint8_t *lower = block + l.weights, *upper = block + l.upper + place;
    if (l.bits == 8)
        return lower[32 * g + place];
    if (l.bits < 4) {
        int pair = lower[g / 4 * 32 + place] >> (g % 4 * 2) & 3;
        return l.bits == 3 ? pair | (*upper >> g & 1) << 2 : pair;
    }
    int q = lower[g / 2 * 32 + place] >> (g % 2 * 4) & 0x0F;
    if (l.bits == 5)
        q |= (*upper >> g & 1) << 4;
    else if (l.bits == 6)
        q |= (upper[g / 4 * 32] >> (g % 4 * 2) & 3) << 4;
    return q;
}

/* Returns the integer of row r, column c. low: only for KL_Q8_LOW, which stands for both parts
 * together. */
static int unpack_one(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                      const uint8_t *low, size_t r, size_t c)
{
    int q = unpack_bits(l, block, r, c);
    if (type == KL_Q8_LOW)
        return 8 * q + unpack_bits(kl_layout(KL_Q8_LOW), low, r, c) - 128;
    if (type == KL_Q8_HIGH)
        return 16 * q - 249; /* twice 8 * (q - 16) + 3.5 */
    if (l.bits == 8)
        return (int8_t)q;
    const uint8_t *book = kl_packed_book(type);
    int number = (book != NULL ? book[q] : q) - kl_packed_offset(type);
    uint8_t factor = block[8 * (c / 16) + r];
    if (l.scales == KL_SCALES_HALVES)
        return number * (int8_t)factor;
    return l.scales == KL_SCALES_NIBBLES ? number * (factor & 0x0F) : number;
}

static inline __attribute__((always_inline)) void matmul(enum kl_quant type, const uint8_t *w,
                                                         const uint8_t *low, size_t begin,
                                                         size_t end, const struct kl_activations *x,
                                                         float *y, size_t y_stride)
{
    struct kl_layout l = kl_layout(type == KL_Q8_LOW ? KL_Q8_HIGH : type);
    struct kl_layout low_layout = kl_layout(KL_Q8_LOW);
    size_t n_blocks = x->k / KL_BLOCK, group_bytes = kl_layout_bytes(l, n_blocks);
    for (size_t group = begin; group < end; group++) {
        for (size_t t = 0; t < x->n; t++)
            memset(y + t * y_stride + (group - begin) * KL_LANES, 0, KL_LANES * sizeof *y);
        for (size_t b = 0; b < n_blocks; b++) {
            struct block_integers in;
            const uint8_t *header;
            const uint8_t *block = kl_layout_block(l, w + group * group_bytes, b, &header);
            const uint8_t *low_block =
                type == KL_Q8_LOW ? low + (group * n_blocks + b) * low_layout.block_bytes : NULL;
            unpack_scales(type, l, header, block, &in);
            for (size_t r = 0; r < KL_LANES; r++)
                for (size_t c = 0; c < KL_BLOCK; c++)
                    in.w[r][c] = (int16_t)unpack_one(type, l, block, low_block, r, c);

            for (size_t t = 0; t < x->n; t++) {
                const struct kl_int8_block *of_token = &x->blocks[t * n_blocks + b];
                float *out = y + t * y_stride + (group - begin) * KL_LANES;
                for (size_t r = 0; r < KL_LANES; r++) {
                    int32_t dot = 0;
                    for (size_t c = 0; c < KL_BLOCK; c++)
                        dot += in.w[r][c] * of_token->q[c];
                    int sums = in.m_half[r][0] * of_token->half_sum[0] +
                               in.m_half[r][1] * of_token->half_sum[1];
                    out[r] = fmaf((float)dot, in.d[r] * of_token->scale, out[r]);
                    if (l.has_min)
                        out[r] = fmaf(in.m[r], of_token->scale * (float)sums, out[r]);
                }
            }
        }
    }
}

static float load_float(enum kl_quant type, const uint8_t *w, size_t i)
{
    float f;
    uint16_t half;
    if (type == KL_F32) {
        memcpy(&f, w + 4 * i, sizeof f);
        return f;
    }
    memcpy(&half, w + 2 * i, sizeof half);
    return type == KL_F16 ? kl_f16_to_f32(half) : kl_bf16_to_f32(half);
}

/* Float weights meet the same int8 activations: the sum of a block in f32, column by column. */
static inline __attribute__((always_inline)) void
matmul_floats(enum kl_quant type, const uint8_t *w, const uint8_t *low, size_t begin, size_t end,
              const struct kl_activations *x, float *y, size_t y_stride)
{
    (void)low;
    size_t n_blocks = x->k / KL_BLOCK;
    size_t block_bytes = kl_layout(type).block_bytes;
    for (size_t group = begin; group < end; group++) {
        for (size_t t = 0; t < x->n; t++) {
            float *out = y + t * y_stride + (group - begin) * KL_LANES;
            memset(out, 0, KL_LANES * sizeof *y);
            for (size_t b = 0; b < n_blocks; b++) {
                const uint8_t *block = w + (group * n_blocks + b) * block_bytes;
                const struct kl_int8_block *of_token = &x->blocks[t * n_blocks + b];
                for (size_t r = 0; r < KL_LANES; r++) {
                    float sum = 0.0f;
                    for (size_t c = 0; c < KL_BLOCK; c++)
                        sum = fmaf(load_float(type, block, c * KL_LANES + r), (float)of_token->q[c],
                                   sum);
                    out[r] = fmaf(sum, of_token->scale, out[r]);
                }
            }
        }
    }
}

#define DEFINE_MATMUL(name, type, function)                                                        \
    void name(const uint8_t *w, size_t begin, size_t end, const struct kl_activations *x,          \
              float *y, size_t y_stride, void *scratch)                                            \
    {                                                                                              \
        (void)scratch;                                                                             \
        function(type, w, NULL, begin, end, x, y, y_stride);                                       \
    }

void kl_scalar_matmul_halves(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                             const struct kl_activations *x, float *y, size_t y_stride,
                             void *scratch)
{
    (void)scratch;
    matmul(KL_Q8_LOW, high, low, begin, end, x, y, y_stride);
}

#define DEFINE_BLOCKS(NAME, name, ...) DEFINE_MATMUL(kl_scalar_matmul_##name, KL_##NAME, matmul)
KL_BLOCK_PRODUCTS(DEFINE_BLOCKS)
#define DEFINE_FLOATS(NAME, name, ...)                                                             \
    DEFINE_MATMUL(kl_scalar_matmul_##name, KL_##NAME, matmul_floats)
KL_FLOAT_TYPES(DEFINE_FLOATS)
