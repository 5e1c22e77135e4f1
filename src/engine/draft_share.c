#include "engine/draft_share.h"

#include <assert.h>

#include "engine/scheduler.h"

/* Chances are estimates, so a row has to be worth a little more than it costs. */
#define LEAST_GAIN 1.02f
/* Requests in prefill, which win nothing by drafts, may lose this much. */
#define MOST_LOSS 1.02f
/* An answer may lose this part of the time that it takes without drafts. */
#define CREDIT_OF_TOKEN 0.02f

float kl_draft_credit(float before, size_t n_tokens, float slower)
{
    return before + (float)n_tokens * (1.0f + CREDIT_OF_TOKEN) - slower;
}

/* The request whose next token is most likely right; NULL: none has one. */
static struct kl_draft_offer *best_offer(struct kl_draft_offer *offers, size_t n)
{
    struct kl_draft_offer *best = NULL;
    for (size_t i = 0; i < n; i++) {
        struct kl_draft_offer *o = &offers[i];
        if (o->taken < o->n &&
            (best == NULL || o->draft[o->taken].chance > best->draft[best->taken].chance))
            best = o;
    }
    return best;
}

/* Whether no request loses more than its credit if all guesses are wrong in a pass that takes
 * `slower` times as long. */
static bool is_fair(const struct kl_draft_offer *offers, size_t n, float slower)
{
    for (size_t i = 0; i < n; i++) {
        if (kl_draft_credit(offers[i].credit, 1, slower) < 0.0f)
            return false;
    }
    return true;
}

size_t kl_draft_share(struct kl_draft_offer *offers, size_t n, size_t n_rows, size_t max,
                      const struct kl_pass_costs *costs)
{
    assert(n <= KL_MAX_PARALLEL && n <= n_rows);
    float best = LEAST_GAIN, gain = 0.0f, before = kl_pass_cost(costs, n_rows);
    size_t rows = 0, best_rows = 0, own_rows = 0, best_taken[KL_MAX_PARALLEL];
    for (size_t i = 0; i < n; i++) {
        offers[i].taken = best_taken[i] = 0;
        own_rows += offers[i].n_rows;
    }
    struct kl_draft_offer *offer;
    while (rows < max && (offer = best_offer(offers, n)) != NULL) {
        gain += offer->draft[offer->taken++].chance;
        rows++;
        float slower = kl_pass_cost(costs, n_rows + rows) / before;
        float faster = (1.0f + gain / (float)n) / slower;
        bool prompts_wait = n_rows > own_rows && slower > MOST_LOSS;
        if (faster <= best || prompts_wait || !is_fair(offers, n, slower))
            continue;
        best = faster;
        best_rows = rows;
        for (size_t i = 0; i < n; i++)
            best_taken[i] = offers[i].taken;
    }
    for (size_t i = 0; i < n; i++)
        offers[i].taken = best_taken[i];
    return best_rows;
}
