/*
 * Between running requests and their drafts: proposes tokens for the next step, and learns from
 * what became of them.
 *
 * A request that decodes has one row in a step. The tokens proposed here stand behind its own
 * (kl_request.n_proposed) and get a row each, so that the pass computes all of them at once; those
 * that the sampler would have chosen anyway are accepted (answer.h).
 *
 * Where an answer follows a rule, a draft is what the rule makes likely (kl_request_rule_likely),
 * or what draft.h guesses as far as the rule allows it, whichever is expected to be right longer.
 *
 * The engine thread's. How guesses are made is draft.h, how many are worth a row draft_share.h.
 */
#ifndef KL_ENGINE_PROPOSE_H
#define KL_ENGINE_PROPOSE_H

#include "engine/draft.h"
#include "engine/draft_share.h"
#include "engine/request.h"
#include "engine/scheduler.h"

struct kl_engine;

struct kl_proposals {
    size_t max; /* of one pass; 0: off, and nothing below is used */
    struct kl_pass_costs costs;
    struct kl_draft_memory *memory;
    struct kl_draft_rates rates;
    struct kl_drafter drafters[KL_MAX_PARALLEL]; /* by slot, as all that follow */
    float credits[KL_MAX_PARALLEL];
    enum kl_draft_source sources[KL_MAX_PARALLEL]; /* of the tokens proposed last */
    float slower; /* the running pass takes this many times as long as without proposed tokens */
};

/* memory_bytes: for the answers given before. costs: NULL: the usual ones. To be released even if
 * it fails. */
enum kl_status kl_proposals_open(struct kl_proposals *proposals, size_t max, size_t n_slots,
                                 size_t ctx_size, size_t memory_bytes,
                                 const struct kl_pass_costs *costs, struct kl_error *err);
void kl_proposals_release(struct kl_proposals *proposals);
/* For the plan. */
size_t kl_proposals_bytes(size_t max, size_t n_slots, size_t ctx_size, size_t memory_bytes);

/* A slot has another request. */
void kl_proposals_reset_slot(struct kl_proposals *proposals, size_t slot);

/* Gives slots that decode rows for proposed tokens, where they pay; returns how many. The slots
 * have the rows of a step (kl_schedule_rows), n_rows in all. */
size_t kl_propose(struct kl_engine *engine, size_t n_rows);

/* A pass gave the request of a slot n_tokens; n_proposed were proposed. */
void kl_proposals_count(struct kl_proposals *proposals, size_t slot, size_t n_tokens,
                        size_t n_proposed);

/* Keeps the answer of a request that ends, for the drafts of others in its scope. */
void kl_proposals_remember(struct kl_proposals *proposals, const struct kl_request *request);

#endif
