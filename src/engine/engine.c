#include "engine/engine.h"

#include <stdlib.h>

#include "engine/engine_counters.h"
#include "engine/engine_state.h"
#include "engine/engine_thread.h"

/* ---- opening and closing --------------------------------------------------------------------- */

static enum kl_status check_range(const char *name, size_t value, size_t low, size_t high,
                                  struct kl_error *err)
{
    if (value < low || value > high)
        return kl_fail(err, KL_ERR_INVALID, "%s: expected %zu to %zu, found %zu", name, low, high,
                       value);
    return KL_OK;
}

static enum kl_status check_options(const struct kl_model *model, const struct kl_engine_options *o,
                                    struct kl_error *err)
{
    size_t n_ctx_train = kl_model_config(model)->n_ctx_train;
    enum kl_status status = check_range("the context size", o->ctx_size, 2, n_ctx_train, err);
    if (status == KL_OK)
        status = check_range("parallel requests", o->parallel, 1, KL_MAX_PARALLEL, err);
    if (status == KL_OK)
        status = check_range("the queue's size", o->queue_size, 0, 65536, err);
    if (status == KL_OK)
        status = check_range("the prefill chunk", o->prefill_chunk, 1, 4096, err);
    if (status == KL_OK)
        status = check_range("guessed tokens", o->draft_max, 0, KL_DRAFT_MAX, err);
    return status;
}

static bool has_small_budget(const struct kl_engine_options *o)
{
    return o->plan != NULL && o->plan->budget != 0 && o->plan->budget < (uint64_t)1 << 30;
}

/* Bytes for the answers given before, as a source of drafts. */
static size_t answers_bytes(const struct kl_engine_options *o)
{
    return has_small_budget(o) ? KL_DRAFT_MEMORY_BYTES / 8 : KL_DRAFT_MEMORY_BYTES;
}

/* The least number of rows with room for all logits (1.2 MB each): a request that runs alone, and
 * whose sampling may choose any token, has one less of proposed tokens. */
static size_t min_wide(const struct kl_engine_options *o)
{
    return has_small_budget(o) ? 2 : 4;
}

/* The threads of a pass: at most those of the pool. */
static struct kl_threads threads_of(const struct kl_engine_options *o,
                                    const struct kl_engine_thread *thread)
{
    size_t most = thread != NULL ? kl_pool_threads(thread->pool) : KL_POOL_MAX_THREADS;
    size_t prefill = o->n_threads_prefill != 0 ? o->n_threads_prefill : o->n_threads;
    return (struct kl_threads){o->n_threads < most ? o->n_threads : most,
                               prefill < most ? prefill : most};
}

/* Finds the thread that the options name, or starts one. */
static enum kl_status open_thread(struct kl_engine *engine, struct kl_error *err)
{
    const struct kl_threads threads = threads_of(&engine->options, NULL);
    enum kl_status status = KL_OK;
    engine->thread = engine->options.thread;
    if (engine->thread == NULL) {
        size_t n = threads.decode > threads.prefill ? threads.decode : threads.prefill;
        status = kl_engine_thread_open(n, &engine->thread, err);
        engine->owns_thread = status == KL_OK;
    }
    if (status == KL_OK)
        engine->wakeup = &engine->thread->wakeup;
    return status;
}

/* Gives the engine to its thread. */
static void enter_thread(struct kl_engine *engine)
{
    struct kl_engine_thread *thread = engine->thread;
    pthread_mutex_lock(&thread->wakeup.lock);
    engine->next = thread->arrived;
    thread->arrived = engine;
    pthread_mutex_unlock(&thread->wakeup.lock);
    kl_wakeup_signal(&thread->wakeup);
}

/* Allocates everything but the KV cache. */
static enum kl_status open_parts(struct kl_engine *engine, const struct kl_model *model,
                                 struct kl_error *err)
{
    const struct kl_engine_options *o = &engine->options;
    size_t max_rows = o->parallel + o->prefill_chunk + o->draft_max;
    enum kl_status status =
        kl_forward_open_on(model, max_rows, engine->thread->pool, &engine->forward, err);
    if (status == KL_OK)
        kl_forward_set_threads(engine->forward, threads_of(o, engine->thread));
    if (status == KL_OK)
        status = kl_sampler_open(engine->n_vocab, &engine->sampler, err);
    if (status != KL_OK)
        return status;
    /* one row of each slot has candidates; with proposed tokens, draft_max + 1 in all */
    size_t max_answers = o->parallel > o->draft_max ? o->parallel : o->draft_max + 1;
    size_t max_wide = o->parallel > min_wide(o) ? o->parallel : min_wide(o);
    if (max_wide > max_answers || kl_model_work(model).bytes_for_logits == 0)
        max_wide = max_answers; /* this head computes all logits */
    status = kl_batch_open(&engine->batch, o->parallel, max_rows, max_answers, max_wide,
                           kl_model_config(model)->n_vocab, engine->n_vocab,
                           kl_mask_words(engine->tokenizer), err);
    if (status == KL_OK)
        status =
            kl_forcer_open(&engine->forcer, engine->tokenizer, engine->n_vocab, o->rule_bytes, err);
    if (status == KL_OK)
        status = kl_proposals_open(&engine->proposals, o->draft_max, o->parallel, o->ctx_size,
                                   answers_bytes(o), o->pass_costs, err);
    if (status != KL_OK)
        return status;
    size_t n_waits = o->queue_size + o->parallel + 1;
    engine->waits = calloc(n_waits, sizeof *engine->waits);
    if (engine->waits == NULL)
        return kl_fail_memory(err, "the engine's queue", n_waits * sizeof *engine->waits);
    return kl_client_wakeup_open(&engine->clients, err);
}

/* Opens the KV cache with the memory that the plan leaves for it, and the prefix cache. */
static enum kl_status open_cache(struct kl_engine *engine, const struct kl_model *model,
                                 struct kl_error *err)
{
    const struct kl_engine_options *o = &engine->options;
    struct kl_plan no_budget = {0}, *plan = o->plan != NULL ? o->plan : &no_budget;
    /* each sequence may end with a partial page */
    size_t pages = (o->ctx_size + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    size_t kept_pages = o->cache_bytes / (kl_kv_bytes_per_token(model) * KL_KV_PAGE_TOKENS);
    const struct kl_plan_kv kv = {.conversation = pages * KL_KV_PAGE_TOKENS,
                                  .parallel = o->parallel,
                                  .kept = kept_pages * KL_KV_PAGE_TOKENS,
                                  .page_tokens = KL_KV_PAGE_TOKENS,
                                  .token_bytes = kl_kv_bytes_per_token(model)};
    kl_plan_add(plan, "buffers of the forward pass and of sampling", engine->totals.buffer_bytes,
                "--parallel");
    if (o->draft_max > 0)
        kl_plan_add(plan, "drafts",
                    kl_proposals_bytes(o->draft_max, o->parallel, o->ctx_size, answers_bytes(o)),
                    "--draft-max");
    size_t request_bytes = kl_request_bytes(o->ctx_size, kl_model_config(model)->n_embd);
    kl_plan_add(plan, "requests that run, and their rules",
                o->parallel * (request_bytes + o->rule_bytes), "--parallel");
    kl_plan_add(plan, "requests that wait", o->queue_size * request_bytes, "--queue");
    if (kept_pages > 0)
        kl_plan_add(plan, "index of the prefix cache", kl_prefix_cache_memory(kept_pages),
                    "--cache-ram");
    enum kl_status status = kl_plan_kv(plan, &kv, err);
    if (status == KL_OK)
        status = kl_kv_cache_open(model, plan->kv_tokens, &engine->kv, err);
    if (status == KL_OK)
        status =
            kl_prefix_cache_open(engine->kv, o->page_store, kept_pages, &engine->prefixes, err);
    if (status != KL_OK)
        return status;
    engine->totals.kv_max_tokens = kl_kv_cache_max_tokens(engine->kv);
    engine->totals.cache_max_pages = kept_pages;
    engine->max_pages = engine->totals.kv_max_tokens / KL_KV_PAGE_TOKENS;
    engine->max_pages_background =
        engine->max_pages > pages + kept_pages ? engine->max_pages - kept_pages : pages;
    return KL_OK;
}

static void destroy(struct kl_engine *engine)
{
    kl_client_wakeup_close(&engine->clients);
    kl_proposals_release(&engine->proposals);
    kl_batch_release(&engine->batch);
    kl_forcer_release(&engine->forcer);
    free(engine->waits);
    kl_sampler_close(engine->sampler);
    kl_prefix_cache_close(engine->prefixes);
    if (engine->kv != NULL)
        kl_kv_cache_close(engine->kv);
    if (engine->forward != NULL)
        kl_forward_close(engine->forward);
    if (engine->owns_thread)
        kl_engine_thread_close(engine->thread);
    free(engine);
}

enum kl_status kl_engine_open(const struct kl_model *model, const struct kl_tokenizer *tokenizer,
                              const struct kl_engine_options *options, struct kl_engine **out,
                              struct kl_error *err)
{
    *out = NULL;
    enum kl_status status = check_options(model, options, err);
    if (status != KL_OK)
        return status;
    struct kl_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return kl_fail_memory(err, "the engine", sizeof *engine);
    engine->options = *options;
    if (engine->options.rule_bytes == 0)
        engine->options.rule_bytes = KL_DEFAULT_RULE_BYTES;
    engine->tokenizer = tokenizer;
    engine->clients.fd = -1;
    engine->n_vocab = kl_model_config(model)->n_vocab;
    engine->n_embd = kl_model_config(model)->n_embd;
    if (kl_tokenizer_size(tokenizer) < engine->n_vocab)
        engine->n_vocab = kl_tokenizer_size(tokenizer);

    status = open_thread(engine, err);
    if (status == KL_OK)
        status = open_parts(engine, model, err);
    if (status != KL_OK)
        goto fail;
    engine->totals = (struct kl_engine_stats){
        .parallel = options->parallel,
        .queue_size = options->queue_size,
        .ctx_size = options->ctx_size,
        .n_embd = engine->n_embd,
        .pooling = kl_model_config(model)->pooling,
        .pass_costs = engine->proposals.costs,
        .buffer_bytes = kl_forward_bytes(engine->forward) + kl_batch_bytes(&engine->batch) +
                        kl_sampler_bytes(engine->sampler),
    };
    status = open_cache(engine, model, err);
    if (status != KL_OK)
        goto fail;
    enter_thread(engine);
    *out = engine;
    return KL_OK;
fail:
    destroy(engine);
    return status;
}

void kl_engine_close(struct kl_engine *engine)
{
    if (engine == NULL)
        return;
    atomic_store(&engine->closing, true);
    kl_wakeup_signal(engine->wakeup);
    pthread_mutex_lock(&engine->wakeup->lock);
    while (!engine->has_left)
        pthread_cond_wait(&engine->thread->left, &engine->wakeup->lock);
    pthread_mutex_unlock(&engine->wakeup->lock);
    destroy(engine);
}

static enum kl_status enqueue(struct kl_engine *engine, enum kl_request_kind kind,
                              const struct kl_request_options *options, struct kl_request **out,
                              struct kl_error *err)
{
    enum kl_status status =
        kl_request_new(kind, options, engine->options.ctx_size, engine->n_vocab, engine->n_embd,
                       engine->tokenizer, engine->wakeup, out, err);
    if (status != KL_OK)
        return status;
    pthread_mutex_lock(&engine->wakeup->lock);
    kl_queue_append(&engine->inbox, *out);
    pthread_mutex_unlock(&engine->wakeup->lock);
    kl_wakeup_signal(engine->wakeup);
    return KL_OK;
}

enum kl_status kl_engine_submit(struct kl_engine *engine, const struct kl_request_options *options,
                                struct kl_request **out, struct kl_error *err)
{
    *out = NULL;
    const struct kl_engine_options *limits = &engine->options;
    if (!kl_counters_submit(engine))
        return kl_fail(err, KL_ERR_BUSY,
                       "the queue is full (%zu requests may run and %zu wait): try again later",
                       limits->parallel, limits->queue_size);
    const struct kl_request_options embeds = {.tokens = options->tokens,
                                              .n_tokens = options->n_tokens,
                                              .pooling = options->pooling,
                                              .priority = options->priority,
                                              .cache_scope = options->cache_scope,
                                              .deadline_seconds = options->deadline_seconds};
    enum kl_status status = options->embeds
                                ? enqueue(engine, KL_REQUEST_EMBEDDING, &embeds, out, err)
                                : enqueue(engine, KL_REQUEST_ANSWER, options, out, err);
    if (status != KL_OK)
        kl_counters_submit_failed(engine);
    return status;
}

enum kl_status kl_engine_precompute(struct kl_engine *engine, const int32_t *tokens,
                                    size_t n_tokens, struct kl_error *err)
{
    const struct kl_request_options options = {
        .tokens = tokens,
        .n_tokens = n_tokens,
        .max_tokens = 1,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
    };
    struct kl_request *request; /* owned by the engine alone */
    return enqueue(engine, KL_REQUEST_PRECOMPUTE, &options, &request, err);
}

int kl_engine_wake_fd(const struct kl_engine *engine)
{
    return engine->clients.fd;
}

void kl_engine_wake_clear(struct kl_engine *engine)
{
    kl_client_wakeup_clear(&engine->clients);
}
