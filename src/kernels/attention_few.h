/*
 * The walk over the pages for the queries of one row, from numbers that are widened in registers,
 * as they are few. A template: included after
 *
 *   FEW_QUERIES         how many they may be at most
 *   multiply_f16()      c[x, i] += sum over t of a[x, t] * from[t, i]; from: [n_t, width], halves;
 *                       prefetches what is `ahead` of them, in bytes
 *   TOKENS, clear_vector(), raise_maximum(), weigh_page(), finish()
 *                       as attention_walks.h uses them
 */
#include "kernels/kernels.h"

/* Computes with one page, of which the first `valid` positions count: p[x, token] = q[x] . k[token]
 * of all, or out[x] += sum over these of p[x, token] * v[token]. The next page is `ahead`, in
 * bytes, or it is 0. */
typedef void page_fn(const struct kl_attend_rows *a, size_t page, ptrdiff_t ahead, size_t valid,
                     float *p);

static bool are_few(const struct kl_attend_rows *a)
{
    return a->scores == NULL && a->n_rows == 1 && a->n_heads <= FEW_QUERIES;
}

INLINE void attend_few(const struct kl_attend_rows *a, const enum kl_kv_type type,
                       page_fn *compute_scores, page_fn *add_values)
{
    size_t n = a->n_heads, dim = a->dim;
    float *p = a->scratch, maximum[FEW_QUERIES], sums[FEW_QUERIES * KL_ATTEND_SUMS];
    clear_vector(a->out, n * dim);
    clear_vector(sums, n * KL_ATTEND_SUMS);
    for (size_t x = 0; x < n; x++)
        maximum[x] = -INFINITY;
    for (size_t at = 0, page = 0; at < a->n_positions; at += TOKENS, page++) {
        size_t left = a->n_positions - at, valid = left < TOKENS ? left : TOKENS;
        ptrdiff_t ahead = left > TOKENS ? a->pages[page + 1] - a->pages[page] : 0;
        compute_scores(a, page, ahead, valid, p);
        for (size_t x = 0; x < n; x++)
            raise_maximum(p + x * TOKENS, valid, &maximum[x], sums + x * KL_ATTEND_SUMS,
                          a->out + x * dim, dim);
        for (size_t x = 0; x < n; x++)
            weigh_page(p + x * TOKENS, valid, maximum[x], sums + x * KL_ATTEND_SUMS);
        add_values(a, page, ahead, valid, p);
    }
    for (size_t x = 0; x < n; x++)
        finish(a, type, sums + x * KL_ATTEND_SUMS, a->out + x * dim);
}

static void scores_f16(const struct kl_attend_rows *a, size_t page, ptrdiff_t ahead, size_t valid,
                       float *p)
{
    (void)valid;
    const uint16_t *keys = (const uint16_t *)(const void *)(a->pages[page] + a->at);
    clear_vector(p, a->n_heads * TOKENS);
    multiply_f16(a->q, a->dim, a->n_heads, keys, TOKENS, ahead, a->dim, p, TOKENS);
}

static void values_f16(const struct kl_attend_rows *a, size_t page, ptrdiff_t ahead, size_t valid,
                       float *p)
{
    const uint16_t *keys = (const uint16_t *)(const void *)(a->pages[page] + a->at);
    multiply_f16(p, TOKENS, a->n_heads, keys + a->dim * TOKENS, a->dim, ahead, valid, a->out,
                 a->dim);
}
