#include "engine/prefix_reuse.h"

#include "engine/engine_counters.h"

#define LOADED_PAGES 8 /* from disk at once: a few milliseconds, or 60 from a slow card */

static enum kl_keep keep_of(const struct kl_request *request)
{
    if (!kl_request_has_client(request))
        return KL_KEEP_PINNED;
    return request->level == KL_PRIORITY_INTERACTIVE ? KL_KEEP_INTERACTIVE : KL_KEEP_BACKGROUND;
}

void kl_prefix_share(struct kl_engine *engine, const struct kl_request *request, size_t n)
{
    kl_prefix_cache_insert(engine->prefixes, request->cache_scope, keep_of(request),
                           request->tokens, n, request->sequence);
}

/* Gives a request that just started the pages that memory has of its tokens. The last token is
 * always computed: the request needs its logits or its hidden vector. */
static void reuse(struct kl_engine *engine, struct kl_request *request)
{
    size_t n_cached =
        kl_prefix_cache_lookup(engine->prefixes, request->cache_scope, keep_of(request),
                               request->tokens, kl_request_reusable(request), request->sequence);
    bool first = !request->has_reused; /* not if it was preempted */
    request->is_loading = false;
    request->has_reused = true;
    if (first)
        request->n_cached = n_cached;
    kl_counters_reuse(engine, request, first, n_cached);
}

/* Returns whether another request computes pages that this one could use, as with the n choices of
 * one prompt. A paused request does not count. */
static bool is_being_computed(const struct kl_engine *engine, const struct kl_request *request)
{
    if (engine->totals.cache_max_pages == 0)
        return false;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        const struct kl_request *other = engine->running[i];
        if (other == NULL || other->is_loading || engine->slots[i].paused ||
            other->level != request->level || other->cache_scope != request->cache_scope)
            continue;
        size_t same = 0, computed = kl_sequence_length(other->sequence);
        while (same < kl_request_reusable(request) && same < other->n_tokens &&
               request->tokens[same] == other->tokens[same])
            same++;
        if (same / KL_KV_PAGE_TOKENS > computed / KL_KV_PAGE_TOKENS)
            return true;
    }
    return false;
}

unsigned kl_prefix_load(struct kl_engine *engine)
{
    unsigned level = KL_N_LEVELS;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (request == NULL || !request->is_loading)
            continue;
        bool more =
            kl_prefix_cache_load(engine->prefixes, request->cache_scope, keep_of(request),
                                 request->tokens, kl_request_reusable(request), LOADED_PAGES);
        if (more && request->level < level)
            level = request->level;
        else if (!more && !is_being_computed(engine, request))
            reuse(engine, request);
    }
    return level;
}
