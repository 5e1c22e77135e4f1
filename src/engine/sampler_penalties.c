#include "engine/sampler_penalties.h"

#include <stdbool.h>
#include <stdlib.h>

#include "engine/dry.h"

/* ---- biases ---------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const struct kl_logit *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_sign(const void *a, const void *b)
{
    const struct kl_logit *x = a, *y = b;
    int sign = (x->value > 0.0f) - (y->value > 0.0f);
    return sign != 0 ? sign : by_id(a, b);
}

size_t kl_biases_order(struct kl_logit *biases, size_t n)
{
    size_t kept = 0;
    qsort(biases, n, sizeof *biases, by_id);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && biases[kept - 1].id == biases[i].id)
            biases[kept - 1].value += biases[i].value;
        else
            biases[kept++] = biases[i];
    }
    qsort(biases, kept, sizeof *biases, by_sign);
    return kept;
}

size_t kl_biases_lowered(const struct kl_logit *biases, size_t n)
{
    size_t lowered = 0;
    while (lowered < n && !(biases[lowered].value > 0.0f))
        lowered++;
    return lowered;
}

/* Adds biases that are sorted by id. */
static void add_biases(const struct kl_logit *biases, size_t n, struct kl_candidates *c)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t high = c->n;
        while (at < high) {
            size_t middle = at + (high - at) / 2;
            if (c->logits[middle].id < biases[i].id)
                at = middle + 1;
            else
                high = middle;
        }
        if (at < c->n && c->logits[at].id == biases[i].id)
            c->logits[at].value += biases[i].value;
    }
}

/* ---- repetition, frequency, presence --------------------------------------------------------- */

static bool has_bit(const uint64_t *set, int32_t id)
{
    return (set[(size_t)id / 64] >> ((size_t)id % 64) & 1) != 0;
}

/* Counts how often each candidate occurs in tokens[0..n); the counts of others have no meaning. */
static void count_tokens(const int32_t *tokens, size_t n, const struct kl_candidates *c,
                         uint32_t *counts)
{
    for (size_t i = 0; i < c->n; i++)
        counts[c->logits[i].id] = 0;
    for (size_t i = 0; i < n; i++)
        counts[tokens[i]]++;
}

static size_t in_window(size_t n, uint32_t window)
{
    return window == 0 || window > n ? n : window;
}

static void penalize_repetition(const struct kl_sampling *s, const struct kl_history *h,
                                const uint64_t *penalized, uint32_t *counts,
                                struct kl_candidates *c)
{
    float penalty = s->repetition_penalty;
    size_t window = in_window(h->n, s->repetition_window);
    bool whole = window == h->n;
    if (!whole)
        count_tokens(h->tokens + (h->n - window), window, c, counts);
    for (size_t i = 0; i < c->n; i++) {
        struct kl_logit *l = &c->logits[i];
        if (whole ? has_bit(penalized, l->id) : counts[l->id] > 0)
            l->value = l->value > 0.0f ? l->value / penalty : l->value * penalty;
    }
}

static bool counts_occurrences(const struct kl_sampling *s)
{
    return s->frequency_penalty != 0.0f || s->presence_penalty != 0.0f;
}

static void penalize_occurrences(const struct kl_sampling *s, const struct kl_history *h,
                                 uint32_t *counts, struct kl_candidates *c)
{
    count_tokens(h->tokens + h->n_prompt, h->n - h->n_prompt, c, counts);
    for (size_t i = 0; i < c->n; i++) {
        struct kl_logit *l = &c->logits[i];
        uint32_t n = counts[l->id];
        if (n > 0)
            l->value -= s->frequency_penalty * (float)n + s->presence_penalty;
    }
}

/* ---- DRY ------------------------------------------------------------------------------------- */

static size_t search(const struct kl_dry *dry, const struct kl_history *h, uint32_t *lengths)
{
    size_t window = in_window(h->n, dry->window);
    return kl_dry_search(h->tokens + (h->n - window), window, lengths);
}

/* Whether a token may be lowered; breakers are not looked at. */
static bool repeats(const struct kl_dry *dry, const struct kl_history *h)
{
    size_t longest = dry->multiplier > 0.0f ? search(dry, h, NULL) : 0;
    return longest > 0 && longest >= dry->allowed_length;
}

static void penalize_repeats(const struct kl_dry *dry, const struct kl_history *h,
                             uint32_t *lengths, struct kl_candidates *c)
{
    for (size_t i = 0; i < c->n; i++)
        lengths[c->logits[i].id] = 0;
    size_t most = search(dry, h, lengths), window = in_window(h->n, dry->window);
    if (h->tokenizer != NULL)
        most = kl_dry_unbroken(dry, h->tokenizer, h->tokens + (h->n - window), window, most);
    for (size_t i = 0; i < c->n; i++) {
        struct kl_logit *l = &c->logits[i];
        size_t length = lengths[l->id] < most ? lengths[l->id] : most;
        float penalty = kl_dry_penalty(dry, length);
        if (penalty > 0.0f && !(h->tokenizer != NULL && kl_dry_is_exempt(dry, h->tokenizer, l->id)))
            l->value -= penalty;
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

bool kl_penalties_apply(const struct kl_sampling *s, const struct kl_history *h, size_t *from,
                        bool *raised)
{
    float penalty = s->repetition_penalty;
    *from = 0;
    *raised = penalty < 1.0f || s->frequency_penalty < 0.0f || s->presence_penalty < 0.0f;
    if (penalty != 1.0f || repeats(&s->dry, h))
        return true;
    *from = h->n_prompt;
    return counts_occurrences(s) && h->n > h->n_prompt;
}

void kl_penalties_run(const struct kl_sampling *s, const struct kl_history *h,
                      const uint64_t *penalized, uint32_t *counts, struct kl_candidates *c)
{
    size_t lowered = kl_biases_lowered(s->biases, s->n_biases);
    add_biases(s->biases, lowered, c);
    add_biases(s->biases + lowered, s->n_biases - lowered, c);
    if (penalized == NULL)
        return;
    if (s->repetition_penalty != 1.0f)
        penalize_repetition(s, h, penalized, counts, c);
    if (counts_occurrences(s))
        penalize_occurrences(s, h, counts, c);
    if (repeats(&s->dry, h))
        penalize_repeats(&s->dry, h, counts, c);
}
