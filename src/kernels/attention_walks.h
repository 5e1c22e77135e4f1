/*
 * The walks of attention over the pages. A template: included at the end of a tier's file, which
 * has defined the steps they are made of (first_query, read_keys, add_scores, weigh_page, ...).
 */
#include "kernels/kernels.h"

INLINE void attend_online(const struct kl_attend_rows *a, const enum kl_kv_type type)
{
    size_t n_queries = a->n_rows * a->n_heads, longest = a->n_positions + a->n_rows - 1;
    float *tile = a->scratch, *p = tile + a->dim * TOKENS;
    float *maximum = p + n_queries * TOKENS, *denominator = maximum + n_queries;
    for (size_t x = 0; x < n_queries; x++) {
        maximum[x] = -INFINITY;
        denominator[x] = 0.0f;
        clear_vector(a->out + x * a->dim, a->dim);
    }
    for (size_t at = 0; at < longest; at += TOKENS) {
        size_t first = first_query(a, at);
        read_keys(a, type, at / TOKENS, tile);
        add_scores(a, first, tile, p, TOKENS);
        for (size_t x = first; x < n_queries; x++)
            weigh_page(a, p + x * TOKENS, valid_in_page(a, x, at), at == 0, &maximum[x],
                       &denominator[x], a->out + x * a->dim);
        read_values(a, type, at / TOKENS, at_most(longest - at, TOKENS), tile);
        add_values(a, first, at, p, TOKENS, tile);
    }
    for (size_t x = 0; x < n_queries; x++)
        finish(a, type, denominator[x], a->out + x * a->dim);
}

INLINE void attend_plainly(const struct kl_attend_rows *a, const enum kl_kv_type type)
{
    size_t n_queries = a->n_rows * a->n_heads, longest = a->n_positions + a->n_rows - 1;
    float *tile = a->scratch, *denominator = tile + a->dim * TOKENS;
    for (size_t at = 0; at < longest; at += TOKENS) {
        read_keys(a, type, at / TOKENS, tile);
        add_scores(a, first_query(a, at), tile, a->scores + at, a->score_stride);
    }
    for (size_t x = 0; x < n_queries; x++) {
        denominator[x] =
            weigh_all(a, a->scores + x * a->score_stride, a->n_positions + x / a->n_heads);
        clear_vector(a->out + x * a->dim, a->dim);
    }
    for (size_t at = 0; at < longest; at += TOKENS) {
        read_values(a, type, at / TOKENS, at_most(longest - at, TOKENS), tile);
        add_values(a, first_query(a, at), at, a->scores + at, a->score_stride, tile);
    }
    for (size_t x = 0; x < n_queries; x++)
        finish(a, type, denominator[x], a->out + x * a->dim);
}

INLINE void attend(const struct kl_attend_rows *a, const enum kl_kv_type type)
{
    if (a->scores == NULL)
        attend_online(a, type);
    else
        attend_plainly(a, type);
}
