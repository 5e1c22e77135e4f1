/*
 * Attention of the AVX-512 tiers: the queries of one row. All else is AVX2's, which the
 * multiply-adds limit: cores that halve 512-bit ones gain nothing (SPEED.md).
 *
 * 32 registers hold the sums of all queries that share a KV head, so a page is widened once for
 * them: a tile is 5 to 8 queries x 2 vectors, or 1 to 4 queries x 4 vectors.
 */
#include "kernels/avx2_softmax.h"
#include "kernels/avx512.h"

enum { FEW_QUERIES = 8, MOST_VECTORS = 4, CACHE_LINE = 64 };

/* The keys or the values in a page, [n_t, width]. */
struct numbers {
    const uint8_t *at;
    size_t stride;       /* bytes of a row */
    const float *scales; /* of int8: [n_t, n_scales], each for KL_BLOCK numbers */
    size_t n_scales;
    ptrdiff_t ahead; /* bytes to those of the next page, which are prefetched */
};

INLINE __m512 load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

INLINE __m512 load_int8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

/* c[x, i] += sum over t of a[x, t] * from[t, i] for n_x queries and n_v vectors, i from
 * `first` on */
INLINE void product_tile(const float *a, size_t a_stride, const struct numbers *from,
                         const enum kl_kv_type type, size_t first, size_t n_t, float *c,
                         size_t c_stride, const int n_x, const int n_v)
{
    const size_t bytes = type == KL_KV_F16 ? 2 : 1, stride = from->stride;
    const ptrdiff_t ahead = from->ahead;
    const uint8_t *row = from->at + first * bytes;
    const float *scales = from->scales;
    __m512 sum[FEW_QUERIES][MOST_VECTORS];
    c += first;
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            sum[x][i] = _mm512_loadu_ps(c + (size_t)x * c_stride + 16 * i);
    for (size_t t = 0; t < n_t; t++, row += stride) {
        __m512 b[MOST_VECTORS];
        for (int i = 0; i < n_v; i++) {
            if (type == KL_KV_F16)
                b[i] = load_f16(row + 32 * i);
            else
                b[i] = _mm512_mul_ps(load_int8(row + 16 * i),
                                     _mm512_set1_ps(scales[(first + 16 * (size_t)i) / KL_BLOCK]));
            KEEP_ORDER_512(b[i]);
        }
        for (size_t byte = 0; byte < 16 * bytes * (size_t)n_v; byte += CACHE_LINE)
            __builtin_prefetch(row + ahead + byte);
        if (type == KL_KV_INT8)
            scales += from->n_scales;
        for (int x = 0; x < n_x; x++)
            for (int i = 0; i < n_v; i++)
                sum[x][i] =
                    _mm512_fmadd_ps(_mm512_set1_ps(a[(size_t)x * a_stride + t]), b[i], sum[x][i]);
    }
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            _mm512_storeu_ps(c + (size_t)x * c_stride + 16 * i, sum[x][i]);
}

INLINE void product_tiles(const float *a, size_t a_stride, const struct numbers *from,
                          const enum kl_kv_type type, size_t width, size_t n_t, float *c,
                          size_t c_stride, const int n_x)
{
    size_t i = 0;
    for (; n_x <= 4 && i + 64 <= width; i += 64)
        product_tile(a, a_stride, from, type, i, n_t, c, c_stride, n_x, 4);
    for (; i + 32 <= width; i += 32)
        product_tile(a, a_stride, from, type, i, n_t, c, c_stride, n_x, 2);
    for (; i < width; i += 16)
        product_tile(a, a_stride, from, type, i, n_t, c, c_stride, n_x, 1);
}

/* Calls FUNCTION(..., n) for n queries, 1 to FEW_QUERIES, each time with a constant. */
#define CASE(n_x, FUNCTION, ...)                                                                   \
    case n_x:                                                                                      \
        FUNCTION(__VA_ARGS__, n_x);                                                                \
        break;
#define WITH_CONSTANT(n, ...)                                                                      \
    switch (n) {                                                                                   \
        CASE(1, __VA_ARGS__)                                                                       \
        CASE(2, __VA_ARGS__)                                                                       \
        CASE(3, __VA_ARGS__)                                                                       \
        CASE(4, __VA_ARGS__)                                                                       \
        CASE(5, __VA_ARGS__)                                                                       \
        CASE(6, __VA_ARGS__)                                                                       \
        CASE(7, __VA_ARGS__)                                                                       \
        CASE(8, __VA_ARGS__)                                                                       \
    }

/* ---- halves ---------------------------------------------------------------------------------- */

/* For n <= FEW_QUERIES queries; from: [n_t, width] */
INLINE void multiply_f16(const float *a, size_t a_stride, size_t n, const uint16_t *from,
                         size_t width, ptrdiff_t ahead, size_t n_t, float *c, size_t c_stride)
{
    struct numbers halves = {.at = (const void *)from, .stride = 2 * width, .ahead = ahead};
    WITH_CONSTANT(n, product_tiles, a, a_stride, &halves, KL_KV_F16, width, n_t, c, c_stride)
}

#include "kernels/attention_few.h"

void kl_avx512_attend_f16(const struct kl_attend_rows *a)
{
    if (are_few(a))
        attend_few(a, KL_KV_F16, scores_f16, values_f16);
    else
        kl_avx2_attend_f16(a);
}

/* ---- int8 ------------------------------------------------------------------------------------ */

enum { VECTORS = TOKENS / 16 }; /* a number of the keys of a page */

/* Adds the bias to keys d and d + dim / 2, and rotates it to the positions of vector i. */
INLINE void add_bias(const struct kl_attend_rows *a, const float *bias, size_t d, size_t i,
                     __m512 *x1, __m512 *x2)
{
    __m512 b1 = _mm512_set1_ps(bias[d]), b2 = _mm512_set1_ps(bias[d + a->dim / 2]);
    __m512 cosine = _mm512_loadu_ps(a->offset_cosine + d * TOKENS + 16 * i);
    __m512 sine = _mm512_loadu_ps(a->offset_sine + d * TOKENS + 16 * i);
    *x1 = _mm512_fnmadd_ps(b2, sine, _mm512_fmadd_ps(b1, cosine, *x1));
    *x2 = _mm512_fmadd_ps(b2, cosine, _mm512_fmadd_ps(b1, sine, *x2));
}

/* sum[x] += q[x, d] * k for n_x queries */
INLINE void add_products(__m512 sum[][VECTORS], const struct kl_attend_rows *a, size_t d, __m512 *k,
                         const int n_x)
{
    for (int i = 0; i < VECTORS; i++)
        KEEP_ORDER_512(k[i]);
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < VECTORS; i++)
            sum[x][i] =
                _mm512_fmadd_ps(_mm512_set1_ps(a->q[(size_t)x * a->dim + d]), k[i], sum[x][i]);
}

/* The scores of a page. Keys d and d + dim / 2 are rotated together, but the sum of a score goes
 * through all d in turn: those of the second half wait in the scratch. */
INLINE void score_tile(const struct kl_attend_rows *a, size_t page, ptrdiff_t ahead, float *p,
                       const int n_x)
{
    size_t dim = a->dim, half = dim / 2;
    const uint8_t *keys = a->pages[page] + a->at;
    const uint8_t *scales = keys + dim * TOKENS;
    float bias[KL_MAX_HEAD_DIM], *waiting = p + (size_t)n_x * TOKENS;
    rotate_bias(a, page, bias);
    __m512 sum[FEW_QUERIES][VECTORS], k[VECTORS];
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < VECTORS; i++)
            sum[x][i] = _mm512_setzero_ps();
    for (size_t at = 0; at < half; at += 8) { /* of the same scales */
        const uint8_t *scales1 = scales + at / KL_BLOCK * TOKENS * 2;
        const uint8_t *scales2 = scales + (at + half) / KL_BLOCK * TOKENS * 2;
        __m512 scale1[VECTORS], scale2[VECTORS];
        for (size_t i = 0; i < VECTORS; i++) {
            scale1[i] = load_f16(scales1 + 32 * i);
            scale2[i] = load_f16(scales2 + 32 * i);
        }
        __builtin_prefetch(scales1 + ahead);
        __builtin_prefetch(scales2 + ahead);
        for (size_t d = at; d < at + 8; d++) {
            for (size_t i = 0; i < VECTORS; i++) {
                size_t first = d * TOKENS + 16 * i;
                k[i] = _mm512_mul_ps(load_int8(keys + first), scale1[i]);
                __m512 other = _mm512_mul_ps(load_int8(keys + half * TOKENS + first), scale2[i]);
                add_bias(a, bias, d, i, &k[i], &other);
                _mm512_storeu_ps(waiting + first, other);
            }
            __builtin_prefetch(keys + d * TOKENS + ahead);
            add_products(sum, a, d, k, n_x);
        }
    }
    for (size_t d = half; d < dim; d++) {
        for (size_t i = 0; i < VECTORS; i++)
            k[i] = _mm512_loadu_ps(waiting + (d - half) * TOKENS + 16 * i);
        __builtin_prefetch(keys + d * TOKENS + ahead);
        add_products(sum, a, d, k, n_x);
    }
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < VECTORS; i++)
            _mm512_storeu_ps(p + (size_t)x * TOKENS + 16 * i, sum[x][i]);
}

static void scores_int8(const struct kl_attend_rows *a, size_t page, ptrdiff_t ahead, size_t valid,
                        float *p)
{
    (void)valid;
    WITH_CONSTANT(a->n_heads, score_tile, a, page, ahead, p)
}

static void values_int8(const struct kl_attend_rows *a, size_t page, ptrdiff_t ahead, size_t valid,
                        float *p)
{
    size_t dim = a->dim, n_blocks = kl_kv_blocks(dim), n_scales = TOKENS * n_blocks;
    const uint8_t *values = a->pages[page] + a->at + kl_kv_half_bytes(KL_KV_INT8, dim);
    float scales[TOKENS * KL_MAX_HEAD_DIM / KL_BLOCK];
    for (size_t i = 0; i < n_scales; i += 16) {
        const uint8_t *halves = values + dim * TOKENS + 2 * i;
        _mm512_storeu_ps(scales + i, load_f16(halves));
        __builtin_prefetch(halves + ahead);
    }
    struct numbers v = {values, dim, scales, n_blocks, ahead};
    WITH_CONSTANT(a->n_heads, product_tiles, p, TOKENS, &v, KL_KV_INT8, dim, valid, a->out, dim)
}

void kl_avx512_attend_int8(const struct kl_attend_rows *a)
{
    if (are_few(a))
        attend_few(a, KL_KV_INT8, scores_int8, values_int8);
    else
        kl_avx2_attend_int8(a);
}
