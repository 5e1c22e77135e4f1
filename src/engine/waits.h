/*
 * How long queued requests will wait: an estimate from measured speeds (statistics.h), sent to
 * their clients and shown by kl_engine_stats.
 *
 * The engine thread's.
 */
#ifndef KL_ENGINE_WAITS_H
#define KL_ENGINE_WAITS_H

#include "engine/engine_state.h"

/* Computes the waits of all engines of a thread anew and sends each queued request its position, if
 * a request came, started or left since the last time, or after KL_POSITION_INTERVAL_NS. An
 * engine's requests wait for those of lower levels in other engines, and take turns with those of
 * their own level. */
void kl_waits_update(struct kl_engine_thread *thread);

#endif
