/*
 * The slots: requests that run. Start, leave, end.
 *
 * The engine thread's. The scheduler (scheduler.h) decides about slots; this carries it out, and
 * keeps slots[], running[] and the sequences of running requests in step.
 */
#ifndef KL_ENGINE_SLOTS_H
#define KL_ENGINE_SLOTS_H

#include "engine/engine_state.h"

/* Ends a request that is in no slot and no queue. why: only used with KL_FINISH_ERROR. */
void kl_finish_request(struct kl_engine *engine, struct kl_request *request, enum kl_finish finish,
                       const struct kl_error *why);

/* Puts a request into a free slot. pages: the most that it may hold. A request for which there is
 * no memory ends. */
void kl_slot_start(struct kl_engine *engine, size_t slot, struct kl_request *request, size_t pages);

/* Frees a slot and returns its request, which may be started again later: its pages go into the
 * prefix cache. */
struct kl_request *kl_slot_preempt(struct kl_engine *engine, size_t slot);

/* Frees a slot and ends its request. */
void kl_slot_finish(struct kl_engine *engine, size_t slot, enum kl_finish finish,
                    const struct kl_error *why);

/* Ends the running requests that were cancelled or timed out. */
void kl_slots_finish_ended(struct kl_engine *engine);

/* Updates what the scheduler reads of the slots: level, rows to compute, and whether they are
 * paused because the client does not read or because pages are still loaded. */
void kl_slots_update(struct kl_engine *engine);

#endif
