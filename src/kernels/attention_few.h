/*
 * The walk over the pages for the queries of one row, from halves that are widened in registers, as
 * they are few. A template: included after
 *
 *   FEW_QUERIES         how many they may be at most
 *   multiply_f16()      c[x, i] += sum over t of a[x, t] * from[t, i]; from: [n_t, width], halves;
 *                       prefetches what is `ahead` of them, in bytes
 *   TOKENS, clear_vector(), raise_maximum(), weigh_page(), finish()
 *                       as attention_walks.h uses them
 */
#include "kernels/kernels.h"

static bool are_few(const struct kl_attend_rows *a)
{
    return a->scores == NULL && a->n_rows == 1 && a->n_heads <= FEW_QUERIES;
}

static void attend_few(const struct kl_attend_rows *a)
{
    size_t n = a->n_heads, dim = a->dim;
    float *p = a->scratch, maximum[FEW_QUERIES], sums[FEW_QUERIES * KL_ATTEND_SUMS];
    clear_vector(a->out, n * dim);
    clear_vector(sums, n * KL_ATTEND_SUMS);
    for (size_t x = 0; x < n; x++)
        maximum[x] = -INFINITY;
    for (size_t at = 0; at < a->n_positions; at += TOKENS) {
        const uint8_t *const *page = &a->pages[at / TOKENS];
        const uint16_t *keys = (const uint16_t *)(const void *)(*page + a->at);
        size_t left = a->n_positions - at, valid = left < TOKENS ? left : TOKENS;
        ptrdiff_t ahead = at + TOKENS < a->n_positions ? page[1] - page[0] : 0;
        clear_vector(p, n * TOKENS);
        multiply_f16(a->q, dim, n, keys, TOKENS, ahead, dim, p, TOKENS);
        for (size_t x = 0; x < n; x++)
            raise_maximum(p + x * TOKENS, valid, &maximum[x], sums + x * KL_ATTEND_SUMS,
                          a->out + x * dim, dim);
        for (size_t x = 0; x < n; x++)
            weigh_page(p + x * TOKENS, valid, maximum[x], sums + x * KL_ATTEND_SUMS);
        multiply_f16(p, TOKENS, n, keys + dim * TOKENS, dim, ahead, valid, a->out, dim);
    }
    for (size_t x = 0; x < n; x++)
        finish(a, KL_KV_F16, sums + x * KL_ATTEND_SUMS, a->out + x * dim);
}
