/*
 * The part of attention that is the same for all vector sizes: which positions of a page a query
 * sees, and the loops over the pages. A template: included at the end of a tier's file, which
 * defines the steps before it (TILE_QUERIES, product_tiles, read_keys, weigh_page, finish, ...),
 * and whether pages are prefetched (PREFETCHES).
 */
#include "kernels/kernels.h"

enum { CACHE_LINE = 64 }; /* bytes */

static size_t at_most(size_t n, size_t limit)
{
    return n < limit ? n : limit;
}

/* The number of positions from `at` on, in this page, that query x sees. */
static size_t valid_in_page(const struct kl_attend_rows *a, size_t x, size_t at)
{
    return at_most(a->n_positions + x / a->n_heads - at, TOKENS);
}

/* The first query that sees position `at`: each further row sees one more. */
static size_t first_query(const struct kl_attend_rows *a, size_t at)
{
    return at < a->n_positions ? 0 : (at + 1 - a->n_positions) * a->n_heads;
}

/* s[x, token] = q[x] . k[token] for the queries from x on; s: [queries, s_stride]. Prefetches
 * `share` bytes of `next` before each product: all at once would wait for each other. */
static void compute_scores(const struct kl_attend_rows *a, size_t x, const float *k, float *s,
                           size_t s_stride, const uint8_t *next, size_t share)
{
    for (size_t n_queries = a->n_rows * a->n_heads; x < n_queries; x += TILE_QUERIES) {
        for (size_t i = 0; i < share; i += CACHE_LINE)
            __builtin_prefetch(next + i);
        next += share;
        product_tiles(a->q + x * a->dim, a->dim, at_most(n_queries - x, TILE_QUERIES), k, TOKENS,
                      a->dim, s + x * s_stride, s_stride, true);
    }
}

/* The end of the queries from x on that see as much of the page as x, the first one of its row. */
static size_t end_of_same_view(const struct kl_attend_rows *a, size_t x, size_t valid)
{
    return valid == TOKENS ? a->n_rows * a->n_heads : x + a->n_heads;
}

/* Turns the scores of the queries from x on into weights of the page at `at`. In two loops: the
 * chain of instructions of a query would be too long for the core to overlap it with the next
 * one's. */
static void weigh_scores(const struct kl_attend_rows *a, size_t x, size_t at, float *p,
                         float *maximum, float *sums)
{
    while (x < a->n_rows * a->n_heads) {
        size_t valid = valid_in_page(a, x, at), end = end_of_same_view(a, x, valid);
        for (size_t i = x; i < end; i++)
            raise_maximum(p + i * TOKENS, valid, &maximum[i], sums + i * KL_ATTEND_SUMS,
                          a->out + i * a->dim, a->dim);
        for (; x < end; x++)
            weigh_page(p + x * TOKENS, valid, maximum[x], sums + x * KL_ATTEND_SUMS);
    }
}

/* out[x] += sum over the tokens it sees of p[x, token] * v[token] for the queries from x on */
static void add_values(const struct kl_attend_rows *a, size_t x, size_t at, const float *p,
                       size_t p_stride, const float *v)
{
    while (x < a->n_rows * a->n_heads) {
        size_t valid = valid_in_page(a, x, at), end = end_of_same_view(a, x, valid);
        for (; x < end; x += TILE_QUERIES)
            product_tiles(p + x * p_stride, p_stride, at_most(end - x, TILE_QUERIES), v, a->dim,
                          valid, a->out + x * a->dim, a->dim, false);
        x = end;
    }
}

/* ---- the walks ------------------------------------------------------------------------------- */

INLINE void attend_online(const struct kl_attend_rows *a, const enum kl_kv_type type)
{
    size_t n_queries = a->n_rows * a->n_heads, longest = a->n_positions + a->n_rows - 1;
    float *tile = a->scratch, *p = tile + a->dim * TOKENS;
    float *sums = p + n_queries * TOKENS, *maximum = sums + n_queries * KL_ATTEND_SUMS;
    clear_vector(a->out, n_queries * a->dim);
    clear_vector(sums, n_queries * KL_ATTEND_SUMS);
    for (size_t x = 0; x < n_queries; x++)
        maximum[x] = -INFINITY;
    for (size_t at = 0; at < longest; at += TOKENS) {
        size_t first = first_query(a, at), page = at / TOKENS;
        bool is_last = at + TOKENS >= longest;
        size_t n_products = (n_queries - first + TILE_QUERIES - 1) / TILE_QUERIES;
        size_t n_next = PREFETCHES && !is_last ? 2 * kl_kv_half_bytes(type, a->dim) : 0;
        read_keys(a, type, page, tile);
        compute_scores(a, first, tile, p, TOKENS, a->pages[is_last ? page : page + 1] + a->at,
                       (n_next / n_products + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
        weigh_scores(a, first, at, p, maximum, sums);
        read_values(a, type, page, at_most(longest - at, TOKENS), tile);
        add_values(a, first, at, p, TOKENS, tile);
    }
    for (size_t x = 0; x < n_queries; x++)
        finish(a, type, sums + x * KL_ATTEND_SUMS, a->out + x * a->dim);
}

/* All scores of a query become weights. */
static void weigh_all(const struct kl_attend_rows *a, size_t x, float *sums)
{
    size_t n = a->n_positions + x / a->n_heads;
    float *p = a->scores + x * a->score_stride, maximum = -INFINITY;
    for (size_t at = 0; at < n; at += TOKENS)
        raise_maximum(p + at, at_most(n - at, TOKENS), &maximum, sums, NULL, 0);
    for (size_t at = 0; at < n; at += TOKENS)
        weigh_page(p + at, at_most(n - at, TOKENS), maximum, sums);
}

INLINE void attend_plainly(const struct kl_attend_rows *a, const enum kl_kv_type type)
{
    size_t n_queries = a->n_rows * a->n_heads, longest = a->n_positions + a->n_rows - 1;
    float *tile = a->scratch, *sums = tile + a->dim * TOKENS;
    for (size_t at = 0; at < longest; at += TOKENS) {
        read_keys(a, type, at / TOKENS, tile);
        compute_scores(a, first_query(a, at), tile, a->scores + at, a->score_stride,
                       a->pages[at / TOKENS], 0);
    }
    clear_vector(a->out, n_queries * a->dim);
    clear_vector(sums, n_queries * KL_ATTEND_SUMS);
    for (size_t x = 0; x < n_queries; x++)
        weigh_all(a, x, sums + x * KL_ATTEND_SUMS);
    for (size_t at = 0; at < longest; at += TOKENS) {
        read_values(a, type, at / TOKENS, at_most(longest - at, TOKENS), tile);
        add_values(a, first_query(a, at), at, a->scores + at, a->score_stride, tile);
    }
    for (size_t x = 0; x < n_queries; x++)
        finish(a, type, sums + x * KL_ATTEND_SUMS, a->out + x * a->dim);
}

INLINE void attend(const struct kl_attend_rows *a, const enum kl_kv_type type)
{
    if (a->scores == NULL)
        attend_online(a, type);
    else
        attend_plainly(a, type);
}
