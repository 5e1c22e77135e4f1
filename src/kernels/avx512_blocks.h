/*
 * Packed blocks of two groups in 512-bit registers: reads 16 rows of 32 columns. As avx2_blocks.h,
 * for the files of the AVX-512 tiers.
 */
#ifndef KL_KERNELS_AVX512_BLOCKS_H
#define KL_KERNELS_AVX512_BLOCKS_H

#include "kernels/avx2_blocks.h"
#include "kernels/avx512.h"

enum { TILE_TOKENS = 8, MOST_TILE = 12 };

/* One block of each of two groups. */
struct block_pair {
    const uint8_t *header[2], *block[2];
    const uint8_t *low[2]; /* only for KL_Q8_LOW */
};

/* struct block_scales of 16 rows. */
struct pair_scales {
    __m512 d, m;
    __m512i half0, half1, both;
};

INLINE __m512i join(__m256i a, __m256i b)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

INLINE __m512 join_floats(__m256 a, __m256 b)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}

INLINE __m512i broadcast_word(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

INLINE struct pair_scales load_pair_scales(enum kl_quant type, struct kl_layout l,
                                           const struct block_pair *at)
{
    struct block_scales a = load_scales(type, l, at->header[0], at->block[0]);
    struct block_scales b = load_scales(type, l, at->header[1], at->block[1]);
    struct pair_scales s = {.d = join_floats(a.d, b.d)};
    if (l.has_min)
        s.m = join_floats(a.m, b.m);
    if (has_halves(type)) {
        s.half0 = join(a.half0, b.half0);
        s.half1 = join(a.half1, b.half1);
        s.both = join(a.both, b.both);
    }
    return s;
}

/* 32 bytes of a part of each block. */
INLINE __m512i load_plane(const uint8_t *const part[2], unsigned offset)
{
    return join(_mm256_loadu_si256((const __m256i *)(part[0] + offset)),
                _mm256_loadu_si256((const __m256i *)(part[1] + offset)));
}

/* Moves bit `from` of each byte to bit `to`; the others are to be masked. */
INLINE __m512i move_bits(__m512i v, int from, int to)
{
    if (from < to)
        return _mm512_slli_epi16(v, to - from);
    return from > to ? _mm512_srli_epi16(v, from - to) : v;
}

/* a, and those bits of b that the mask has. GCC would make the two instructions one, vpternlogd,
 * which also takes the ports of the products: prompts are 1 % faster without it (SPEED.md). */
INLINE __m512i add_bits(__m512i a, __m512i b, int mask)
{
    __m512i bits = _mm512_and_si512(b, _mm512_set1_epi8((char)mask));
    KEEP_ORDER_512(a);
    KEEP_ORDER_512(bits);
    return _mm512_or_si512(a, bits);
}

/* load_bits() for 16 rows. */
INLINE __m512i load_pair_bits(struct kl_layout l, const uint8_t *const part[2], int g)
{
    if (l.bits == 8)
        return load_plane(part, l.weights + 32 * (unsigned)g);
    const unsigned quarter = 32 * ((unsigned)g / 4), half = 32 * ((unsigned)g / 2);
    if (l.bits < 4) {
        __m512i q = move_bits(load_plane(part, l.weights + quarter), g % 4 * 2, 0);
        q = _mm512_and_si512(q, _mm512_set1_epi8(3));
        return l.bits == 3 ? add_bits(q, move_bits(load_plane(part, l.upper), g, 2), 1 << 2) : q;
    }
    __m512i q = move_bits(load_plane(part, l.weights + half), g % 2 * 4, 0);
    q = _mm512_and_si512(q, _mm512_set1_epi8(0x0F));
    if (l.bits == 5)
        q = add_bits(q, move_bits(load_plane(part, l.upper), g, 4), 1 << 4);
    else if (l.bits == 6)
        q = add_bits(q, move_bits(load_plane(part, l.upper + quarter), g % 4 * 2, 4), 3 << 4);
    return q;
}

/* 4 columns of 16 rows as bytes; g is a constant after unrolling. as_signed: weights that
 * is_signed() says are signed are int8; else they have 128 added. */
INLINE __m512i load_pair_columns(enum kl_quant type, struct kl_layout l,
                                 const struct block_pair *at, int g, const bool as_signed)
{
    __m512i q = load_pair_bits(l, at->block, g);
    bool has_128 = true;
    if (type == KL_Q8_LOW) {
        __m512i lower = load_pair_bits(kl_layout(KL_Q8_LOW), at->low, g);
        q = _mm512_or_si512(lower, _mm512_slli_epi16(q, 3));
    } else if (kl_packed_book(type) != NULL) {
        __m128i book = _mm_loadu_si128((const __m128i *)kl_packed_book(type));
        q = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(book), q);
    } else {
        has_128 = false;
    }
    if (is_signed(type) && as_signed == has_128)
        q = _mm512_xor_si512(q, _mm512_set1_epi8(-128));
    return q;
}

/* The offset of the weights times the sum of a token's activations, negated: of one half of a
 * block, or of all of it. Most offsets are powers of two, and a shift leaves the ports of the
 * products alone. */
INLINE __m512i negated_offset(enum kl_quant type, const int offset, const struct kl_int8_block *x,
                              int half)
{
    if (has_halves(type))
        return _mm512_set1_epi32(-offset * x->half_sum[half]);
    if ((offset & (offset - 1)) != 0)
        return _mm512_set1_epi32(offset * x->minus_sum);
    return _mm512_slli_epi32(_mm512_set1_epi32(x->minus_sum),
                             (unsigned)__builtin_ctz((unsigned)offset));
}

#endif
