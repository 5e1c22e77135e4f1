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
    __m256 m; /* where the type has a minimum: times the sum of the activations */
    /* where a type has halves: int16, each row's factor of columns 0..15 in both of its places */
    __m256i half0;
    __m256i half1; /* columns 16..31 */
    __m256i both;  /* one of each: the factors of the two sums of the activations, of the offset or,
                      in Q2_K, of the minimum */
};

INLINE __m256 load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256 load_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* The factors of 8 rows for half a block, as int32; in nibbles: of d, or of m. */
INLINE __m256i load_factors(struct kl_layout l, const uint8_t *block, int half, bool of_m)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(block + KL_LANES * half));
    if (l.scales != KL_SCALES_NIBBLES)
        return _mm256_cvtepi8_epi32(bytes);
    if (of_m)
        bytes = _mm_srli_epi16(bytes, 4);
    return _mm256_cvtepi8_epi32(_mm_and_si128(bytes, _mm_set1_epi8(0x0F)));
}

/* int16: a in the lower places, b in the upper ones. */
INLINE __m256i pair_up(__m256i a, __m256i b)
{
    return _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)),
                           _mm256_slli_epi32(b, 16));
}

INLINE struct block_scales load_scales(enum kl_quant type, struct kl_layout l,
                                       const uint8_t *header, const uint8_t *block)
{
    const uint8_t *from = l.scales == KL_SCALES_PER_BLOCK ? block : header;
    struct block_scales s = {.d = load_f16(from)};
    if (l.has_min)
        s.m = load_f16(from + 16);
    if (l.scales == KL_SCALES_U8) {
        s.d = _mm256_mul_ps(s.d, load_u8(block));
        if (l.has_min)
            s.m = _mm256_mul_ps(s.m, load_u8(block + 8));
    } else if (l.scales == KL_SCALES_S8) {
        s.d = _mm256_mul_ps(s.d, _mm256_cvtepi32_ps(load_factors(l, block, 0, false)));
    } else if (has_halves(type)) {
        __m256i a = load_factors(l, block, 0, false), b = load_factors(l, block, 1, false);
        s.half0 = pair_up(a, a);
        s.half1 = pair_up(b, b);
        s.both = pair_up(a, b);
        if (has_min_halves(type))
            s.both = pair_up(load_factors(l, block, 0, true), load_factors(l, block, 1, true));
    }
    if (l.has_min && l.scales != KL_SCALES_PER_BLOCK) /* of K types it is subtracted */
        s.m = _mm256_xor_ps(s.m, _mm256_set1_ps(-0.0f));
    if (kl_is_doubled(type))
        s.d = _mm256_mul_ps(s.d, _mm256_set1_ps(0.5f));
    return s;
}

/* Bit g of each byte, at bit `to`. */
INLINE __m256i load_bit(const uint8_t *plane, int g, int to)
{
    __m256i bits = _mm256_loadu_si256((const __m256i *)plane);
    bits = g < to ? _mm256_slli_epi16(bits, to - g) : _mm256_srli_epi16(bits, g - to);
    return _mm256_and_si256(bits, _mm256_set1_epi8((char)(1 << to)));
}

/* Two bits of each byte, those of columns 4g and on, at bit `to`. */
INLINE __m256i load_pair(const uint8_t *planes, int g, int to)
{
    __m256i bits = _mm256_loadu_si256((const __m256i *)(planes + g / 4 * 32));
    int from = g % 4 * 2;
    bits = from < to ? _mm256_slli_epi16(bits, to - from) : _mm256_srli_epi16(bits, from - to);
    return _mm256_and_si256(bits, _mm256_set1_epi8((char)(3 << to)));
}

/* The bits of 4 columns of 8 rows as bytes, of one part. */
INLINE __m256i load_bits(struct kl_layout l, const uint8_t *block, int g)
{
    const uint8_t *p = block + l.weights;
    if (l.bits == 8)
        return _mm256_loadu_si256((const __m256i *)(p + 32 * g));
    if (l.bits < 4) {
        __m256i q = load_pair(p, g, 0);
        return l.bits == 3 ? _mm256_or_si256(q, load_bit(block + l.upper, g, 2)) : q;
    }
    __m256i q = _mm256_loadu_si256((const __m256i *)(p + g / 2 * 32));
    if (g % 2 == 1)
        q = _mm256_srli_epi16(q, 4);
    q = _mm256_and_si256(q, _mm256_set1_epi8(0x0F));
    if (l.bits == 5)
        q = _mm256_or_si256(q, load_bit(block + l.upper, g, 4));
    else if (l.bits == 6)
        q = _mm256_or_si256(q, load_pair(block + l.upper, g, 4));
    return q;
}

/* Whether weights are read as int8. Others are unsigned, and their offset is subtracted afterwards.
 */
INLINE bool is_signed(enum kl_quant type)
{
    return type == KL_Q8_LOW || kl_packed_bits(type) == 8 ||
           kl_packed_offset(type) == KL_IQ4_OFFSET;
}

/* The weights of codes. as_signed: less 128. */
INLINE __m256i look_up(enum kl_quant type, __m256i codes, bool as_signed)
{
    __m128i book = _mm_loadu_si128((const __m128i *)kl_packed_book(type));
    if (as_signed)
        book = _mm_xor_si128(book, _mm_set1_epi8(-128));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(book), codes);
}

/* 4 columns of 8 rows as bytes; g is a constant after unrolling. low: only for KL_Q8_LOW, which
 * here stands for both parts together. */
INLINE __m256i load_columns(enum kl_quant type, struct kl_layout l, const uint8_t *block,
                            const uint8_t *low, int g)
{
    __m256i bits = load_bits(l, block, g);
    if (type == KL_Q8_LOW) {
        __m256i lower = load_bits(kl_layout(KL_Q8_LOW), low, g);
        __m256i all = _mm256_or_si256(lower, _mm256_slli_epi16(bits, 3));
        return _mm256_xor_si256(all, _mm256_set1_epi8(-128)); /* w + 128 to w */
    }
    return kl_packed_book(type) != NULL ? look_up(type, bits, is_signed(type)) : bits;
}

INLINE __m256i broadcast4(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}

/* Adds the integers of a block to an output; every path ends here. dot: as floats, exact (below
 * 2^24). */
INLINE __m256 add_floats(struct kl_layout l, struct block_scales s, __m256 dot,
                         const struct kl_int8_block *x, __m256 sum)
{
    __m256 scale = _mm256_set1_ps(x->scale), factor = _mm256_mul_ps(s.d, scale);
    sum = _mm256_fmadd_ps(dot, factor, sum);
    if (l.scales == KL_SCALES_NIBBLES) {
        __m256 both = _mm256_cvtepi32_ps(_mm256_madd_epi16(broadcast4(x->half_sum), s.both));
        sum = _mm256_fmadd_ps(s.m, _mm256_mul_ps(both, scale), sum);
    } else if (l.has_min) {
        sum = _mm256_fmadd_ps(s.m, _mm256_set1_ps(x->scaled_sum), sum);
    }
    return sum;
}

INLINE __m256 add_block(struct kl_layout l, struct block_scales s, __m256i dot,
                        const struct kl_int8_block *x, __m256 sum)
{
    return add_floats(l, s, _mm256_cvtepi32_ps(dot), x, sum);
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
