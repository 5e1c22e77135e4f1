/*
 * Between running requests and the prefix cache: gives a request that starts the pages that were
 * computed before, and shares the pages that it computes.
 *
 * The engine thread's. The cache itself is prefix_cache.h.
 */
#ifndef KL_ENGINE_PREFIX_REUSE_H
#define KL_ENGINE_PREFIX_REUSE_H

#include "engine/engine_state.h"

/* Puts the first n tokens of a request's sequence into the prefix cache. If n ends inside a page,
 * the sequence must not be written to any more. */
void kl_prefix_share(struct kl_engine *engine, const struct kl_request *request, size_t n);

/* Reads pages of the requests that were just started from disk, a few for each, so that the text of
 * others does not pause; a request for which all are in memory gets its pages. Returns the lowest
 * level of the requests with more pages on disk; KL_N_LEVELS: all requests are ready, or wait for
 * pages that another one computes. */
unsigned kl_prefix_load(struct kl_engine *engine);

#endif
