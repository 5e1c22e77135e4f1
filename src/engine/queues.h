/*
 * The queues: requests that wait for a slot, one queue per level.
 *
 * The engine thread's.
 */
#ifndef KL_ENGINE_QUEUES_H
#define KL_ENGINE_QUEUES_H

#include "engine/engine_state.h"

/* Takes in submitted requests, ends queued requests that were cancelled or timed out, and moves
 * those whose client has changed their priority. */
void kl_queues_update(struct kl_engine *engine);

/* Starts the queued requests that can start, and preempts running requests for them. */
void kl_queues_start(struct kl_engine *engine);

/* Returns whether a request of a lower level than that of the running step can run: it was queued,
 * or its client has read and it is not paused any more. */
bool kl_queues_has_lower(struct kl_engine *engine, unsigned level);

/* The earliest deadline of all requests, ns of the monotonic clock; UINT64_MAX: none. */
uint64_t kl_queues_first_deadline(const struct kl_engine *engine);

/* Ends all queued requests. */
void kl_queues_cancel(struct kl_engine *engine);

#endif
