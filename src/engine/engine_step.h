/*
 * One step of the engine: choose the rows, run one pass, deliver the results.
 *
 * The engine thread's.
 */
#ifndef KL_ENGINE_ENGINE_STEP_H
#define KL_ENGINE_ENGINE_STEP_H

#include "engine/engine_state.h"

/* Chooses the rows of the next step, and reserves pages of the KV cache for them; sets step_level.
 * A request for which there are none ends. Returns the number of rows; 0: nothing can run. */
size_t kl_step_plan(struct kl_engine *engine);

/* Runs the rows that kl_step_plan chose. Results of a slot are delivered in this order: choose and
 * accept tokens, truncate the sequence to accepted tokens, share its whole pages, send events. */
void kl_step_run(struct kl_engine *engine);

#endif
