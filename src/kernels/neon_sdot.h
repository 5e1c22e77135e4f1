/*
 * Columns by SDOT, for the tiers that have it: 16 bytes are 4 columns of 4 rows. SDOT by a lane
 * multiplies them with 4 activations of one register and adds the 4 products of a row to its int32:
 * nothing is broadcast, widened or added across. The sums begin at the integer whose bits are
 * 1.5 * 2^23 as a float, so they are turned into floats by one subtraction (they are below 2^22 in
 * size, Q6_K's without its scales), where SCVTF would take both slots of one pipe.
 */
#include "kernels/neon.h"

/* Rows 0..3 and 4..7, plus MAGIC_BITS each. */
struct partial {
    int32x4_t v[2];
};

#define MAGIC_BITS 0x4B400000 /* of KL_ROUND */

/* The lane must be a constant even where nothing is optimised. */
INLINE int32x4_t dot_lane(int32x4_t sum, int8x16_t w, int8x16_t x, int lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, w, x, 2);
    default:
        return vdotq_laneq_s32(sum, w, x, 3);
    }
}

INLINE void add_columns(enum kl_quant type, struct partial *p, int8x16x2_t w, int8x16_t x, int g)
{
    (void)type;
    for (int h = 0; h < 2; h++) {
        int32x4_t before = g == 0 ? vdupq_n_s32(MAGIC_BITS) : p->v[h];
        p->v[h] = dot_lane(before, w.val[h], x, g % 4);
        __asm__ volatile("" : "+w"(p->v[h])); /* KEEP_ORDER of neon_products.h */
    }
}

INLINE float32x4x2_t partial_value(const struct partial *p)
{
    const float32x4_t magic = vdupq_n_f32(KL_ROUND);
    return (float32x4x2_t){{vsubq_f32(vreinterpretq_f32_s32(p->v[0]), magic),
                            vsubq_f32(vreinterpretq_f32_s32(p->v[1]), magic)}};
}

/* The subtraction is part of the product: (sum + magic) * by - magic * by, where both are exact. */
INLINE float32x4_t partial_times(const struct partial *p, int h, float32x4_t by)
{
    float32x4_t magic = vmulq_n_f32(by, -KL_ROUND);
    return vfmaq_f32(magic, vreinterpretq_f32_s32(p->v[h]), by);
}
