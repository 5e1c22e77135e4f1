/*
 * Matrix products of the NEON tier for every armv8-a core.
 *
 * SMULL and SMLAL multiply 8 weights (4 columns of 2 rows) with 4 activations, twice, into int16,
 * which holds the sums of a block or of a part of it: of 8 steps with |w| <= 31 (5 bits, IQ3_XXS),
 * 8 * 31 * 127 = 31496; of 4 steps (half a block) with 6-bit weights, 4 * 32 * 127 = 16256; of 2
 * steps with 8-bit ones, 2 * 128 * 127 = 32512. SADALP then adds pairs of columns into int32, and
 * ADDP the two pairs of a row. Sums are below 2^24 and turned into floats exactly.
 *
 * A tile is one group x 4 tokens: 16 sums in int16. 8-bit weights have as many in int32 and take
 * two tokens.
 */
#include "kernels/neon.h"

/* Vector i: rows 2i and 2i+1, column by column in `narrow`, two halves of each row in `wide`. */
struct partial {
    int16x8_t narrow[4];
    int32x4_t wide[4];
};

/* How many steps of 4 columns may be added up in int16. */
INLINE int steps_in_16_bits(enum kl_quant type)
{
    const bool wide =
        type == KL_Q8_LOW || kl_packed_bits(type) == 8 || kl_packed_offset(type) == KL_IQ4_OFFSET;
    return wide ? 2 : has_halves(type) ? 4 : 8;
}

INLINE int tile_groups(enum kl_quant type)
{
    (void)type;
    return 1;
}

INLINE int tile_tokens(enum kl_quant type)
{
    return steps_in_16_bits(type) == 2 ? 2 : 4;
}

INLINE void add_columns(enum kl_quant type, struct partial *p, int8x16x2_t w, int8x16_t x, int g)
{
    const int steps = steps_in_16_bits(type);
    int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(vreinterpretq_s32_s8(x)[g % 4]));
    for (int i = 0; i < 4; i++) {
        int8x8_t rows = i % 2 == 0 ? vget_low_s8(w.val[i / 2]) : vget_high_s8(w.val[i / 2]);
        p->narrow[i] = g % steps == 0 ? vmull_s8(rows, vget_low_s8(four))
                                      : vmlal_s8(p->narrow[i], rows, vget_low_s8(four));
        __asm__ volatile("" : "+w"(p->narrow[i])); /* KEEP_ORDER of neon_products.h */
        if (g % steps != steps - 1)
            continue;
        bool begins = g == steps - 1;
        p->wide[i] = begins ? vpaddlq_s16(p->narrow[i]) : vpadalq_s16(p->wide[i], p->narrow[i]);
    }
}

INLINE float32x4x2_t partial_value(const struct partial *p)
{
    return (float32x4x2_t){{vcvtq_f32_s32(vpaddq_s32(p->wide[0], p->wide[1])),
                            vcvtq_f32_s32(vpaddq_s32(p->wide[2], p->wide[3]))}};
}

INLINE float32x4_t partial_times(const struct partial *p, int h, float32x4_t by)
{
    return vfmaq_f32(vdupq_n_f32(0.0f), partial_value(p).val[h], by);
}

#include "kernels/neon_products.h"

#include "kernels/neon_columns.h"

/* 4 rows of a column of float weights. */
INLINE float32x4_t load_float(enum kl_quant type, const uint8_t *p)
{
    if (type == KL_F32)
        return vreinterpretq_f32_u8(vld1q_u8(p));
    if (type == KL_F16)
        return load_f16(p);
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

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
            float32x4_t total[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
            for (size_t b = 0; b < n_blocks; b++) {
                const struct kl_int8_block *block = &x->blocks[t * n_blocks + b];
                float32x4_t sum[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
                for (size_t c = 0; c < KL_BLOCK; c++, p += KL_LANES * element) {
                    sum[0] = vfmaq_n_f32(sum[0], load_float(type, p), (float)block->q[c]);
                    sum[1] =
                        vfmaq_n_f32(sum[1], load_float(type, p + 4 * element), (float)block->q[c]);
                }
                for (int h = 0; h < 2; h++)
                    total[h] = vfmaq_n_f32(total[h], sum[h], block->scale);
            }
            float *out = y + t * y_stride + (group - begin) * KL_LANES;
            vst1q_f32(out, total[0]);
            vst1q_f32(out + 4, total[1]);
        }
    }
}

#define DEFINE_FLOAT_MATMUL(NAME, name, ...)                                                       \
    void kl_neon_matmul_##name(const uint8_t *w, size_t begin, size_t end,                         \
                               const struct kl_activations *x, float *y, size_t y_stride,          \
                               void *scratch)                                                      \
    {                                                                                              \
        (void)scratch;                                                                             \
        float_weights(KL_##NAME, w, begin, end, x, y, y_stride);                                   \
    }

KL_FLOAT_TYPES(DEFINE_FLOAT_MATMUL)

const struct kl_kernels kl_kernels_neon = TABLE("neon");
