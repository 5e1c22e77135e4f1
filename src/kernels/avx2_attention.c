/*
 * Attention of the AVX2 tier, and the store into the KV pages.
 *
 * Scores (queries x keys) and values (weights x values) are the same product of two small matrices
 * in f32: c[x, i] += sum over t of a[x, t] * b[t, i], where b is a page, widened once for all
 * queries of all rows. A tile of the product is 3 queries x 4 vectors: 12 sums in registers hide
 * the latency of the multiply-add (4 cycles, 2 a cycle), 3 broadcasts and 1 vector of b fill the
 * other 4, and 12 multiply-adds need 7 loads, where the core can do 12.
 *
 * The queries of one row, if they are few, are multiplied by halves that are widened in registers,
 * and the loads of the next page from memory are spread over these products.
 */
#include "kernels/avx2_softmax.h"

enum {
    TILE_QUERIES = 3,
    TILE_VECTORS = 4,
    FEW_QUERIES = 8,
    FEW_TILE = 4, /* most of them in a tile */
    PREFETCHES = 1
};

/* ---- storing --------------------------------------------------------------------------------- */

void TIER(kv_store_f16)(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot)
{
    uint16_t *keys = (uint16_t *)(void *)tile, *values = keys + dim * TOKENS;
    for (size_t d = 0; d < dim; d += 8) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(v + d), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(values + slot * dim + d), half);
        uint16_t column[8];
        half = _mm256_cvtps_ph(_mm256_loadu_ps(k + d), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)column, half);
        for (size_t i = 0; i < 8; i++)
            keys[(d + i) * TOKENS + slot] = column[i];
    }
}

/* One block of n_vectors * 8 numbers. */
INLINE uint16_t store_block(const float *x, size_t n_vectors, int8_t *q, size_t stride)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), most = _mm256_set1_ps(127.0f);
    __m256 largest = _mm256_setzero_ps();
    for (size_t i = 0; i < n_vectors; i++)
        largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8 * i)));
    uint16_t half = kl_f32_to_f16(max_lanes(largest) / 127.0f);
    float scale = kl_f16_to_f32(half);
    __m256 inverse = _mm256_set1_ps(scale > 0.0f ? 1.0f / scale : 0.0f);
    for (size_t i = 0; i < n_vectors; i++) {
        __m256 y = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse);
        y = _mm256_max_ps(_mm256_min_ps(y, most), _mm256_xor_ps(most, sign));
        int32_t n[8];
        _mm256_storeu_si256((__m256i *)n, _mm256_cvtps_epi32(y));
        for (size_t j = 0; j < 8; j++)
            q[(8 * i + j) * stride] = (int8_t)n[j];
    }
    return half;
}

void TIER(kv_store_int8)(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot)
{
    size_t n_blocks = kl_kv_blocks(dim);
    uint8_t *half = tile + kl_kv_half_bytes(KL_KV_INT8, dim);
    uint16_t *k_scales = (uint16_t *)(void *)(tile + dim * TOKENS);
    uint16_t *v_scales = (uint16_t *)(void *)(half + dim * TOKENS);
    for (size_t b = 0, d = 0; b < n_blocks; b++, d += KL_BLOCK) {
        size_t n_vectors = (dim - d < KL_BLOCK ? dim - d : KL_BLOCK) / 8;
        k_scales[b * TOKENS + slot] =
            store_block(k + d, n_vectors, (int8_t *)tile + d * TOKENS + slot, TOKENS);
        v_scales[slot * n_blocks + b] =
            store_block(v + d, n_vectors, (int8_t *)half + slot * dim + d, 1);
    }
}

/* ---- a tile as floats ------------------------------------------------------------------------ */

INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256 load_int8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

INLINE void widen(const uint16_t *from, size_t n, float *to)
{
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(to + i, load_f16(from + i));
}

/* k[d, token] with the bias, rotated to each token's position. Scales are the same for 8 d. */
INLINE void read_keys_int8(const struct kl_attend_rows *a, size_t page, float *k)
{
    size_t half = a->dim / 2;
    const int8_t *keys = (const int8_t *)(a->pages[page] + a->at);
    const uint16_t *scales = (const uint16_t *)(const void *)(keys + a->dim * TOKENS);
    float bias[KL_MAX_HEAD_DIM];
    rotate_bias(a, page, bias);
    for (size_t at = 0; at < half; at += 8) {
        for (size_t j = 0; j < TOKENS; j += 8) {
            __m256 scale1 = load_f16(scales + at / KL_BLOCK * TOKENS + j);
            __m256 scale2 = load_f16(scales + (at + half) / KL_BLOCK * TOKENS + j);
            for (size_t d = at; d < at + 8; d++) {
                size_t i1 = d * TOKENS + j, i2 = (d + half) * TOKENS + j;
                __m256 b1 = _mm256_broadcast_ss(bias + d);
                __m256 b2 = _mm256_broadcast_ss(bias + half + d);
                __m256 cosine = _mm256_loadu_ps(a->offset_cosine + i1);
                __m256 sine = _mm256_loadu_ps(a->offset_sine + i1);
                __m256 x1 = _mm256_mul_ps(load_int8(keys + i1), scale1);
                __m256 x2 = _mm256_mul_ps(load_int8(keys + i2), scale2);
                x1 = _mm256_fnmadd_ps(b2, sine, _mm256_fmadd_ps(b1, cosine, x1));
                x2 = _mm256_fmadd_ps(b2, cosine, _mm256_fmadd_ps(b1, sine, x2));
                _mm256_storeu_ps(k + i1, x1);
                _mm256_storeu_ps(k + i2, x2);
            }
        }
    }
}

INLINE void read_keys(const struct kl_attend_rows *a, const enum kl_kv_type type, size_t page,
                      float *k)
{
    if (type == KL_KV_INT8)
        read_keys_int8(a, page, k);
    else
        widen((const uint16_t *)(const void *)(a->pages[page] + a->at), a->dim * TOKENS, k);
}

/* v[token, d], without the bias */
INLINE void read_values(const struct kl_attend_rows *a, const enum kl_kv_type type, size_t page,
                        size_t n_tokens, float *v)
{
    size_t dim = a->dim, n_blocks = kl_kv_blocks(dim);
    const uint8_t *half = a->pages[page] + a->at + kl_kv_half_bytes(type, dim);
    if (type == KL_KV_F16) {
        widen((const uint16_t *)(const void *)half, dim * n_tokens, v);
        return;
    }
    const uint16_t *scales = (const uint16_t *)(const void *)(half + dim * TOKENS);
    for (size_t j = 0; j < n_tokens; j++) {
        for (size_t b = 0; b < n_blocks; b++) {
            __m256 scale = _mm256_set1_ps(_cvtsh_ss(scales[j * n_blocks + b]));
            for (size_t d = b * KL_BLOCK; d < dim && d < (b + 1) * KL_BLOCK; d += 8) {
                __m256 x = load_int8((const int8_t *)half + j * dim + d);
                _mm256_storeu_ps(v + j * dim + d, _mm256_mul_ps(x, scale));
            }
        }
    }
}

/* ---- products -------------------------------------------------------------------------------- */

/* fresh: c is written and not added to */
INLINE void product_tile(const float *a, size_t a_stride, const float *b, size_t b_stride,
                         size_t n_t, float *c, size_t c_stride, const int n_x, const int n_v,
                         const bool fresh)
{
    __m256 sum[TILE_QUERIES][TILE_VECTORS];
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            sum[x][i] =
                fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(c + (size_t)x * c_stride + 8 * i);
    for (size_t t = 0; t < n_t; t++) {
        __m256 factor[TILE_QUERIES];
        for (int x = 0; x < n_x; x++)
            factor[x] = _mm256_broadcast_ss(a + (size_t)x * a_stride + t);
        for (int i = 0; i < n_v; i++) {
            __m256 from = _mm256_loadu_ps(b + t * b_stride + 8 * i);
            KEEP_ORDER(from); /* or GCC loads it again for each query */
            for (int x = 0; x < n_x; x++)
                sum[x][i] = _mm256_fmadd_ps(factor[x], from, sum[x][i]);
        }
    }
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            _mm256_storeu_ps(c + (size_t)x * c_stride + 8 * i, sum[x][i]);
}

INLINE void product_row(const float *a, size_t a_stride, const float *b, size_t width, size_t n_t,
                        float *c, size_t c_stride, const int n_x, const bool fresh)
{
    size_t i = 0;
    for (; i + 8 * TILE_VECTORS <= width; i += 8 * TILE_VECTORS)
        product_tile(a, a_stride, b + i, width, n_t, c + i, c_stride, n_x, TILE_VECTORS, fresh);
    for (; i < width; i += 8)
        product_tile(a, a_stride, b + i, width, n_t, c + i, c_stride, n_x, 1, fresh);
}

/* c[x, i] += sum over t of a[x, t] * b[t, i] for n <= TILE_QUERIES queries; b: [n_t, width] */
INLINE void product_tiles(const float *a, size_t a_stride, size_t n, const float *b, size_t width,
                          size_t n_t, float *c, size_t c_stride, const bool fresh)
{
    if (n == 3)
        product_row(a, a_stride, b, width, n_t, c, c_stride, 3, fresh);
    else if (n == 2)
        product_row(a, a_stride, b, width, n_t, c, c_stride, 2, fresh);
    else
        product_row(a, a_stride, b, width, n_t, c, c_stride, 1, fresh);
}

/* ---- few queries, from halves ---------------------------------------------------------------- */

/* As product_tile; from: halves. Prefetches what is `ahead` of them, in bytes. */
INLINE void product_tile_f16(const float *a, size_t a_stride, const uint16_t *from,
                             size_t from_stride, ptrdiff_t ahead, size_t n_t, float *c,
                             size_t c_stride, const int n_x, const int n_v)
{
    __m256 sum[FEW_TILE][TILE_VECTORS];
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            sum[x][i] = _mm256_loadu_ps(c + (size_t)x * c_stride + 8 * i);
    for (size_t t = 0; t < n_t; t++) {
        __m256 b[TILE_VECTORS];
        for (int i = 0; i < n_v; i++) {
            b[i] = load_f16(from + t * from_stride + 8 * i);
            KEEP_ORDER(b[i]);
        }
        __builtin_prefetch((const char *)(from + t * from_stride) + ahead);
        for (int x = 0; x < n_x; x++) {
            __m256 factor = _mm256_broadcast_ss(a + (size_t)x * a_stride + t);
            for (int i = 0; i < n_v; i++)
                sum[x][i] = _mm256_fmadd_ps(factor, b[i], sum[x][i]);
        }
    }
    for (int x = 0; x < n_x; x++)
        for (int i = 0; i < n_v; i++)
            _mm256_storeu_ps(c + (size_t)x * c_stride + 8 * i, sum[x][i]);
}

/* Tiles of at least 8 sums, which the latency of the multiply-add needs; of one query, 4. */
INLINE void product_f16(const float *a, size_t a_stride, const uint16_t *from, size_t width,
                        ptrdiff_t ahead, size_t n_t, float *c, size_t c_stride, const int n_x)
{
    const int n_v = n_x < 4 ? 4 : 2;
    size_t i = 0;
    for (; i + 8 * (size_t)n_v <= width; i += 8 * (size_t)n_v)
        product_tile_f16(a, a_stride, from + i, width, ahead, n_t, c + i, c_stride, n_x, n_v);
    for (; i < width; i += 16)
        product_tile_f16(a, a_stride, from + i, width, ahead, n_t, c + i, c_stride, n_x, 2);
}

/* c[x, i] += sum over t of a[x, t] * from[t, i] for n <= FEW_QUERIES queries; from: [n_t, width] */
INLINE void multiply_f16(const float *a, size_t a_stride, size_t n, const uint16_t *from,
                         size_t width, ptrdiff_t ahead, size_t n_t, float *c, size_t c_stride)
{
    for (; n >= FEW_TILE; n -= FEW_TILE, a += FEW_TILE * a_stride, c += FEW_TILE * c_stride)
        product_f16(a, a_stride, from, width, ahead, n_t, c, c_stride, FEW_TILE);
    if (n == 3)
        product_f16(a, a_stride, from, width, ahead, n_t, c, c_stride, 3);
    else if (n == 2)
        product_f16(a, a_stride, from, width, ahead, n_t, c, c_stride, 2);
    else if (n == 1)
        product_f16(a, a_stride, from, width, ahead, n_t, c, c_stride, 1);
}

#include "kernels/attention_few.h"
#include "kernels/attention_walks.h"

void TIER(attend_f16)(const struct kl_attend_rows *a)
{
    if (are_few(a))
        attend_few(a, KL_KV_F16, scores_f16, values_f16);
    else
        attend(a, KL_KV_F16);
}

void TIER(attend_int8)(const struct kl_attend_rows *a)
{
    attend(a, KL_KV_INT8);
}
