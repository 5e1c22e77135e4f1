/*
 * The counters of the engine: everything in struct kl_engine that clients read (kl_engine_stats).
 *
 * Each call takes the engine's lock for a moment. Called by the engine thread, unless noted. Work
 * is counted before its events are sent: a client that has seen an event finds it counted.
 */
#ifndef KL_ENGINE_ENGINE_COUNTERS_H
#define KL_ENGINE_ENGINE_COUNTERS_H

#include "engine/engine_state.h"

/* Any thread: counts a request to answer, before it is created. false: the queue is full, and the
 * refusal was counted. */
bool kl_counters_submit(struct kl_engine *engine);
/* Any thread: takes that back. */
void kl_counters_submit_failed(struct kl_engine *engine);

/* A request has a slot, or has it no more. */
void kl_counters_start(struct kl_engine *engine, const struct kl_request *request);
void kl_counters_leave(struct kl_engine *engine, const struct kl_request *request);
void kl_counters_finish(struct kl_engine *engine, const struct kl_request *request,
                        enum kl_finish finish, uint64_t now_ns);

/* A request got its first n_cached tokens from the prefix cache; first: not after a preemption. */
void kl_counters_reuse(struct kl_engine *engine, const struct kl_request *request, bool first,
                       size_t n_cached);
/* Requests in slots whose client does not read. */
void kl_counters_paused(struct kl_engine *engine, size_t n_paused);
void kl_counters_waits(struct kl_engine *engine, const double expected[KL_N_PRIORITIES]);
void kl_counters_answer(struct kl_engine *engine, size_t n_tokens);
/* Proposed tokens of one request in the step that was counted last. */
void kl_counters_draft(struct kl_engine *engine, enum kl_draft_source source, size_t n_drafted,
                       size_t n_accepted);

/* The rows of a completed step. */
struct kl_step_rows {
    size_t prompt;      /* of prompts to answer */
    size_t precomputed; /* of prompts computed ahead */
    size_t decode;      /* of answers, without proposed tokens */
    size_t all;
};
void kl_counters_step(struct kl_engine *engine, struct kl_step_rows rows, double seconds);

#endif
