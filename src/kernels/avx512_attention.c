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

/* c[x, i] += sum over t of a[x, t] * from[t, i] for n_x queries and n_v vectors */
INLINE void product_tile(const float *a, size_t a_stride, const uint16_t *from, size_t from_stride,
                         ptrdiff_t ahead, size_t n_t, float *c, size_t c_stride, const int n_x,
                         const int n_v)
{
    __m512 sum[FEW_QUERIES][MOST_VECTORS];
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            sum[x][i] = _mm512_loadu_ps(c + (size_t)x * c_stride + 16 * i);
    for (size_t t = 0; t < n_t; t++, from += from_stride) {
        __m512 b[MOST_VECTORS];
        for (int i = 0; i < n_v; i++) {
            b[i] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(from + 16 * i)));
            KEEP_ORDER_512(b[i]);
        }
        for (int byte = 0; byte < 32 * n_v; byte += CACHE_LINE)
            __builtin_prefetch((const char *)from + ahead + byte);
        for (int x = 0; x < n_x; x++)
            for (int i = 0; i < n_v; i++)
                sum[x][i] =
                    _mm512_fmadd_ps(_mm512_set1_ps(a[(size_t)x * a_stride + t]), b[i], sum[x][i]);
    }
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            _mm512_storeu_ps(c + (size_t)x * c_stride + 16 * i, sum[x][i]);
}

INLINE void product_tiles(const float *a, size_t a_stride, const uint16_t *from, size_t width,
                          ptrdiff_t ahead, size_t n_t, float *c, size_t c_stride, const int n_x)
{
    size_t i = 0;
    for (; n_x <= 4 && i + 64 <= width; i += 64)
        product_tile(a, a_stride, from + i, width, ahead, n_t, c + i, c_stride, n_x, 4);
    for (; i + 32 <= width; i += 32)
        product_tile(a, a_stride, from + i, width, ahead, n_t, c + i, c_stride, n_x, 2);
    for (; i < width; i += 16)
        product_tile(a, a_stride, from + i, width, ahead, n_t, c + i, c_stride, n_x, 1);
}

/* For n <= FEW_QUERIES queries; from: [n_t, width] */
static void multiply_f16(const float *a, size_t a_stride, size_t n, const uint16_t *from,
                         size_t width, ptrdiff_t ahead, size_t n_t, float *c, size_t c_stride)
{
#define TILES(n_x)                                                                                 \
    if (n == (n_x))                                                                                \
    product_tiles(a, a_stride, from, width, ahead, n_t, c, c_stride, (n_x))
    TILES(1);
    TILES(2);
    TILES(3);
    TILES(4);
    TILES(5);
    TILES(6);
    TILES(7);
    TILES(8);
#undef TILES
}

#include "kernels/attention_few.h"

void kl_avx512_attend_f16(const struct kl_attend_rows *a)
{
    if (are_few(a))
        attend_few(a);
    else
        kl_avx2_attend_f16(a);
}
