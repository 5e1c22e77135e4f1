/*
 * Packed blocks in 256-bit registers: reads 8 rows of 32 columns, and adds their integers to an
 * output. For the products of every x86 tier (SSE4.1: by pairs of registers).
 */
#ifndef KL_KERNELS_AVX2_BLOCKS_H
#define KL_KERNELS_AVX2_BLOCKS_H

#include <string.h>

#include "kernels/avx2.h"
#include "kernels/matmul_tiles.h"

/* The factors of the integer sums of one block, for 8 rows. */
struct block_scales {
    __m256 d;
    __m256 m;      /* where the type has a minimum: times the sum of the activations */
    __m256i half0; /* Q6_K: int16, each row's scale of columns 0..15 in both of its places */
    __m256i half1; /* columns 16..31 */
    __m256i both;  /* one of each: the factors of the two sums of the activations */
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
    if (l.scales == KL_SCALES_U8) {
        s.d = _mm256_mul_ps(load_f16(header), load_u8(block));
        if (l.has_min) {
            s.m = _mm256_mul_ps(load_f16(header + 16), load_u8(block + 8));
            s.m = _mm256_xor_ps(s.m, _mm256_set1_ps(-0.0f));
        }
    } else if (l.scales == KL_SCALES_HALVES) {
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
INLINE __m256i load_columns_of(struct kl_layout l, const uint8_t *block, int g)
{
    const uint8_t *p = block + l.weights;
    if (l.bits == 8)
        return _mm256_loadu_si256((const __m256i *)(p + 32 * g));
    __m256i q = _mm256_loadu_si256((const __m256i *)(p + g / 2 * 32));
    if (g % 2 == 1)
        q = _mm256_srli_epi16(q, 4);
    q = _mm256_and_si256(q, _mm256_set1_epi8(0x0F));
    if (l.bits == 4)
        return q;

    /* bring the upper bits of this group to bits 4 and 5 */
    const bool pairs = l.bits == 6;
    const uint8_t *upper = block + l.upper + (pairs ? g / 4 * 32 : 0);
    __m256i bits = _mm256_loadu_si256((const __m256i *)upper);
    int from = pairs ? g % 4 * 2 : g;
    bits = from < 4 ? _mm256_slli_epi16(bits, 4 - from) : _mm256_srli_epi16(bits, from - 4);
    bits = _mm256_and_si256(bits, _mm256_set1_epi8(pairs ? 0x30 : 0x10));
    return _mm256_or_si256(q, bits);
}

/* The same for every type; g is a constant after unrolling. low: only for KL_Q8_LOW, which here
 * stands for both parts together. */
INLINE __m256i load_columns(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                            const uint8_t *low, int g)
{
    if (type == KL_Q8_LOW) {
        __m256i high = load_columns_of(l, block, g);
        __m256i two = _mm256_loadu_si256((const __m256i *)(low + g / 4 * 32));
        __m256i third = _mm256_loadu_si256((const __m256i *)(low + 64));
        two = _mm256_and_si256(_mm256_srli_epi16(two, g % 4 * 2), _mm256_set1_epi8(3));
        third = g < 2 ? _mm256_slli_epi16(third, 2 - g) : _mm256_srli_epi16(third, g - 2);
        third = _mm256_and_si256(third, _mm256_set1_epi8(4));
        __m256i all = _mm256_or_si256(_mm256_or_si256(two, third), _mm256_slli_epi16(high, 3));
        return _mm256_xor_si256(all, _mm256_set1_epi8(-128)); /* w + 128 to w */
    }
    return load_columns_of(l, block, g);
}

INLINE __m256i broadcast4(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}

/* Whether weights are read as int8. Others are unsigned, and their offset is subtracted afterwards.
 */
INLINE bool is_signed(enum kl_quant type)
{
    return type == KL_Q8_LOW || kl_packed_bits(type) == 8;
}

/* Adds the integers of a block to an output; every path ends here. dot: as floats, exact (below
 * 2^24). */
INLINE __m256 add_floats(struct kl_layout l, struct block_scales s, __m256 dot, float scale,
                         const int16_t *sums, __m256 sum)
{
    __m256 factor = _mm256_mul_ps(s.d, _mm256_set1_ps(scale));
    sum = _mm256_fmadd_ps(dot, factor, sum);
    if (l.has_min) {
        float scaled_sum = scale * (float)(sums[0] + sums[1]);
        sum = _mm256_fmadd_ps(s.m, _mm256_set1_ps(scaled_sum), sum);
    }
    return sum;
}

INLINE __m256 add_block(struct kl_layout l, struct block_scales s, __m256i dot, float scale,
                        const int16_t *sums, __m256 sum)
{
    return add_floats(l, s, _mm256_cvtepi32_ps(dot), scale, sums, sum);
}

/* For matmul_driver.h. */
typedef __m256 lanes;

INLINE lanes zero_lanes(void)
{
    return _mm256_setzero_ps();
}

INLINE void store_lanes(float *y, lanes v)
{
    _mm256_storeu_ps(y, v);
}

#endif
