#include "engine/engine_counters.h"

#include <string.h>

static void lock(struct kl_engine *engine)
{
    pthread_mutex_lock(&engine->wakeup->lock);
}

static void unlock(struct kl_engine *engine)
{
    pthread_mutex_unlock(&engine->wakeup->lock);
}

bool kl_counters_submit(struct kl_engine *engine)
{
    lock(engine);
    bool room = engine->n_requests < engine->options.parallel + engine->options.queue_size;
    if (room)
        engine->n_requests++;
    else
        engine->totals.requests_refused++;
    unlock(engine);
    return room;
}

void kl_counters_submit_failed(struct kl_engine *engine)
{
    lock(engine);
    engine->n_requests--;
    unlock(engine);
}

void kl_counters_start(struct kl_engine *engine, const struct kl_request *request)
{
    lock(engine);
    engine->n_running += kl_request_has_client(request);
    unlock(engine);
}

void kl_counters_leave(struct kl_engine *engine, const struct kl_request *request)
{
    lock(engine);
    engine->n_running -= kl_request_has_client(request);
    unlock(engine);
}

/* Under the lock. */
static void update_memory(struct kl_engine *engine)
{
    struct kl_prefix_cache_stats cache = kl_prefix_cache_stats(engine->prefixes);
    engine->totals.kv_used_tokens = kl_kv_cache_used_tokens(engine->kv);
    engine->totals.cache_pages = cache.pages;
    engine->totals.cache_bytes = (uint64_t)cache.pages * kl_kv_cache_page_bytes(engine->kv);
    engine->totals.cache_evictions = cache.evictions;
    engine->totals.cache_loaded_pages = cache.loaded;
}

void kl_counters_finish(struct kl_engine *engine, const struct kl_request *request,
                        enum kl_finish finish, uint64_t now_ns)
{
    bool answer = kl_request_is_answer(request);
    lock(engine);
    update_memory(engine);
    if (kl_request_has_client(request)) {
        engine->n_requests--;
        engine->totals.wasted_tokens += kl_request_wasted_tokens(request, finish);
    }
    engine->totals.requests_ended[finish] += answer;
    engine->totals.embeddings += request->embedding != NULL && finish == KL_FINISH_STOP;
    if (answer && kl_finish_is_complete(finish)) {
        kl_statistics_add_latency(&engine->measured,
                                  (double)(now_ns - request->submitted_ns) * 1e-9);
        kl_statistics_add_answer(&engine->measured, kl_request_answer_tokens(request));
    }
    unlock(engine);
}

void kl_counters_reuse(struct kl_engine *engine, const struct kl_request *request, bool first,
                       size_t n_cached)
{
    lock(engine);
    if (first && kl_request_has_client(request)) {
        engine->totals.cache_hit_tokens += n_cached;
        engine->totals.cache_miss_tokens += request->n_prompt - n_cached;
    }
    update_memory(engine);
    unlock(engine);
}

void kl_counters_paused(struct kl_engine *engine, size_t n_paused)
{
    if (n_paused == engine->totals.paused) /* only this thread writes it */
        return;
    lock(engine);
    engine->totals.paused = n_paused;
    unlock(engine);
}

void kl_counters_waits(struct kl_engine *engine, const double expected[KL_N_PRIORITIES])
{
    lock(engine);
    memcpy(engine->totals.expected_wait, expected, sizeof engine->totals.expected_wait);
    engine->totals.wait_estimates++;
    unlock(engine);
}

void kl_counters_answer(struct kl_engine *engine, size_t n_tokens)
{
    lock(engine);
    engine->totals.answer_tokens += n_tokens;
    unlock(engine);
}

void kl_counters_draft(struct kl_engine *engine, enum kl_draft_source source, size_t n_drafted,
                       size_t n_accepted)
{
    lock(engine);
    kl_statistics_add_accepted(&engine->measured, n_accepted);
    engine->totals.drafted_tokens[source] += n_drafted;
    engine->totals.accepted_tokens[source] += n_accepted;
    unlock(engine);
}

void kl_counters_step(struct kl_engine *engine, struct kl_step_rows rows, double seconds)
{
    lock(engine);
    kl_statistics_add_step(&engine->measured, rows.prompt + rows.precomputed, rows.decode, seconds);
    engine->totals.prompt_tokens += rows.prompt;
    engine->totals.precomputed_tokens += rows.precomputed;
    engine->totals.steps++;
    if (rows.prompt + rows.precomputed == 0)
        engine->totals.decode_passes[(rows.all < KL_PASS_COSTS ? rows.all : KL_PASS_COSTS) - 1]++;
    update_memory(engine);
    unlock(engine);
}

void kl_engine_stats(struct kl_engine *engine, struct kl_engine_stats *stats)
{
    lock(engine);
    *stats = engine->totals;
    stats->running = engine->n_running;
    stats->queued = engine->n_requests - engine->n_running;
    struct kl_statistics measured = engine->measured;
    unlock(engine);
    if (engine->options.page_store != NULL)
        kl_page_store_stats(engine->options.page_store, &stats->disk);
    stats->latency_p50 = kl_statistics_latency(&measured, 50);
    stats->latency_p95 = kl_statistics_latency(&measured, 95);
    stats->prefill_speed = kl_speed_value(&measured.prefill);
    stats->decode_speed = kl_speed_value(&measured.decode);
}
