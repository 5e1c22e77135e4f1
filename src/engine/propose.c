#include "engine/propose.h"

#include <string.h>

#include "engine/engine_state.h"

#define RULE_MATCH 32 /* the class in draft_rates.h of what a rule makes likely */

enum kl_status kl_proposals_open(struct kl_proposals *p, size_t max, size_t n_slots,
                                 size_t ctx_size, size_t memory_bytes,
                                 const struct kl_pass_costs *costs, struct kl_error *err)
{
    *p = (struct kl_proposals){
        .max = max, .costs = costs != NULL ? *costs : kl_pass_costs_usual, .slower = 1.0f};
    if (max == 0)
        return KL_OK;
    kl_draft_rates_init(&p->rates);
    enum kl_status status = kl_draft_memory_open(memory_bytes, &p->memory, err);
    for (size_t i = 0; i < n_slots && status == KL_OK; i++)
        status = kl_drafter_open(&p->drafters[i], ctx_size, p->memory, &p->rates, err);
    return status;
}

void kl_proposals_release(struct kl_proposals *p)
{
    for (size_t i = 0; i < KL_MAX_PARALLEL; i++)
        kl_drafter_release(&p->drafters[i]);
    kl_draft_memory_close(p->memory);
    p->memory = NULL;
}

size_t kl_proposals_bytes(size_t max, size_t n_slots, size_t ctx_size, size_t memory_bytes)
{
    return max == 0 ? 0 : memory_bytes + n_slots * kl_drafter_bytes(ctx_size);
}

void kl_proposals_reset_slot(struct kl_proposals *p, size_t slot)
{
    if (p->max == 0)
        return;
    kl_drafter_begin(&p->drafters[slot]);
    p->credits[slot] = KL_DRAFT_FIRST_CREDIT;
}

static struct kl_draft_input input_of(const struct kl_request *r)
{
    return (struct kl_draft_input){.tokens = r->tokens,
                                   .n_prompt = r->n_prompt,
                                   .n_tokens = r->n_tokens,
                                   .prediction = r->prediction,
                                   .n_prediction = r->n_prediction,
                                   .scope = r->cache_scope};
}

/* The most tokens that a pass can accept of a draft: its last row gives one more. n_wide: rows that
 * have room for all logits. */
static size_t most_useful(const struct kl_request *r, size_t max, size_t n_wide)
{
    size_t left = r->n_forced > 0 ? 0 : r->max_answer - kl_request_answer_tokens(r) - 1;
    if (!kl_batch_is_narrow(r) && n_wide < max)
        max = n_wide;
    return left < max ? left : max;
}

/* Lets all drafters read; returns how many requests may answer in the step. */
static size_t read_all(struct kl_engine *engine)
{
    struct kl_proposals *p = &engine->proposals;
    size_t n_answering = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *r = engine->running[i];
        if (r == NULL || !kl_request_is_answer(r))
            continue;
        r->n_proposed = 0;
        n_answering += engine->slots[i].rows > 0;
        if (p->max == 0)
            continue;
        const struct kl_draft_input input = input_of(r);
        kl_drafter_read(&p->drafters[i], &input);
    }
    return n_answering;
}

/* Drafts what the rule makes likely. */
static size_t draft_by_rule(const struct kl_proposals *p, size_t slot, const struct kl_request *r,
                            struct kl_draft *out, size_t max)
{
    int32_t tokens[KL_DRAFT_MAX];
    size_t n = kl_request_rule_likely(&r->rule, tokens, max);
    float one =
        kl_draft_rates_chance(&p->drafters[slot].own, &p->rates, KL_DRAFT_RULE, RULE_MATCH, 0);
    float chance = 1.0f;
    for (size_t i = 0; i < n; i++)
        out[i] = (struct kl_draft){.token = tokens[i], .chance = chance *= one};
    return n;
}

/* Removes the end of a draft that the rule does not allow. */
static size_t keep_allowed(const struct kl_request *r, const struct kl_draft *draft, size_t n)
{
    int32_t tokens[KL_DRAFT_MAX];
    for (size_t i = 0; i < n; i++)
        tokens[i] = draft[i].token;
    return kl_request_rule_agrees(&r->rule, tokens, n);
}

static float expected(const struct kl_draft *draft, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++)
        sum += draft[i].chance;
    return sum;
}

/* Drafts for the request of a slot; returns how many tokens. */
static size_t draft(struct kl_proposals *p, size_t slot, const struct kl_request *r,
                    struct kl_draft *out, size_t max)
{
    const struct kl_draft_input input = input_of(r);
    size_t n = kl_draft(&p->drafters[slot], &input, out, max, &p->sources[slot]);
    if (r->rule.matcher == NULL)
        return n;
    struct kl_draft likely[KL_DRAFT_MAX];
    size_t n_likely = draft_by_rule(p, slot, r, likely, max);
    n = keep_allowed(r, out, n);
    if (expected(likely, n_likely) <= expected(out, n))
        return n;
    memcpy(out, likely, n_likely * sizeof *out);
    p->sources[slot] = KL_DRAFT_RULE;
    return n_likely;
}

size_t kl_propose(struct kl_engine *engine, size_t n_rows)
{
    struct kl_proposals *p = &engine->proposals;
    struct kl_draft drafts[KL_MAX_PARALLEL][KL_DRAFT_MAX];
    struct kl_draft_offer offers[KL_MAX_PARALLEL];
    size_t slots[KL_MAX_PARALLEL], n = 0, n_answering = read_all(engine);
    p->slower = 1.0f;
    if (n_answering > p->max) /* all rows that answer together are at most max + 1 */
        return 0;
    size_t n_wide = engine->batch.max_wide - n_answering;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        const struct kl_request *r = engine->running[i];
        if (r == NULL || engine->slots[i].rows == 0 || engine->slots[i].state != KL_SLOT_DECODE)
            continue;
        if (r->rule.forces_more || engine->slots[i].rows < engine->slots[i].remaining)
            continue; /* its next token is not chosen in this step */
        size_t found = draft(p, i, r, drafts[n], most_useful(r, p->max, n_wide));
        if (!kl_batch_is_narrow(r))
            n_wide -= found;
        offers[n] = (struct kl_draft_offer){.draft = drafts[n],
                                            .n = found,
                                            .credit = p->credits[i],
                                            .n_rows = engine->slots[i].rows};
        slots[n++] = i;
    }
    if (n == 0)
        return 0;
    size_t n_drafts = kl_draft_share(offers, n, n_rows, p->max + 1 - n_answering, &p->costs);
    p->slower = kl_pass_cost(&p->costs, n_rows + n_drafts) / kl_pass_cost(&p->costs, n_rows);
    for (size_t i = 0; i < n; i++) {
        struct kl_request *r = engine->running[slots[i]];
        for (; r->n_proposed < offers[i].taken; r->n_proposed++)
            r->tokens[r->n_tokens + r->n_proposed] = drafts[i][r->n_proposed].token;
        engine->slots[slots[i]].rows += r->n_proposed;
    }
    return n_drafts;
}

void kl_proposals_count(struct kl_proposals *p, size_t slot, size_t n_tokens, size_t n_proposed)
{
    if (n_proposed > 0 && p->sources[slot] == KL_DRAFT_RULE)
        kl_draft_rates_count(&p->drafters[slot].own, &p->rates, KL_DRAFT_RULE, RULE_MATCH, 0,
                             n_tokens > 1);
    p->credits[slot] = kl_draft_credit(p->credits[slot], n_tokens, p->slower);
}

void kl_proposals_remember(struct kl_proposals *p, const struct kl_request *r)
{
    if (p->max > 0 && kl_request_is_answer(r) && r->n_tokens > r->n_prompt)
        kl_draft_memory_add(p->memory, r->cache_scope, r->tokens, r->n_prompt, r->n_tokens);
}
