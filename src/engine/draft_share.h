/*
 * How many guessed tokens each request gets in a pass.
 *
 * Pure functions. A row is added where the tokens that it is expected to give are worth more than
 * the time that it costs. A pass with more rows takes longer for all requests in it, and guesses
 * may be wrong. So each request has a credit: it may lose a small part of the time that it would
 * have taken without drafts, and what drafts have won for it. A pass takes only as many rows as no
 * request can lose more by than its credit. So no answer takes much longer than without drafts,
 * however wrong the guesses are, its own or those of its neighbours.
 */
#ifndef KL_ENGINE_DRAFT_SHARE_H
#define KL_ENGINE_DRAFT_SHARE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/draft.h"
#include "engine/pass_costs.h"

/* One request that decodes, and its draft. */
struct kl_draft_offer {
    const struct kl_draft *draft; /* [n] */
    size_t n;                     /* 0: it has none */
    float credit;                 /* in passes without drafts */
    size_t n_rows;                /* that it has without the draft: 1, and what its rule forces */
    size_t taken;                 /* set by kl_draft_share: the first of them */
};

/* The credit of a request at its first token, and after a pass that gave it `n_tokens` and took
 * `slower` times as long as without drafts. */
#define KL_DRAFT_FIRST_CREDIT 0.0f
float kl_draft_credit(float before, size_t n_tokens, float slower);

/* Decides how many tokens of each draft a pass takes; returns their sum. offers [n]: of all
 * requests that decode in it, at most KL_MAX_PARALLEL. n_rows: of the pass without drafts, at least
 * n; the others are of prompts. max: most rows in addition. */
size_t kl_draft_share(struct kl_draft_offer *offers, size_t n, size_t n_rows, size_t max,
                      const struct kl_pass_costs *costs);

#endif
