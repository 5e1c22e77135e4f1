#include "engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/statistics.h"

struct request_queue {
    struct kl_request *head, *tail;
};

struct kl_engine {
    const struct kl_tokenizer *tokenizer;
    struct kl_engine_options options;
    size_t n_vocab; /* ids that both the model and the tokenizer know */
    int wake_fd;
    pthread_t thread;
    _Atomic(bool) closing;

    struct kl_attention attention; /* its lock guards what follows; never held in a forward pass */
    struct request_queue inbox;    /* submitted, not seen by the engine thread yet */
    size_t n_requests;             /* submitted and not finished */
    size_t n_running;
    struct kl_engine_stats totals; /* the counters */
    struct kl_statistics measured;

    /* the engine thread's */
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct kl_sampler *sampler;
    struct kl_row *rows;       /* [parallel + prefill_chunk] */
    struct kl_choice *choices; /* [parallel] */
    struct kl_logit *found;    /* [parallel][n_found] what the choices hold */
    size_t n_found;
    uint64_t *seen; /* [parallel][seen_words] */
    size_t seen_words;
    struct request_queue waiting; /* in the order they came */
    double *waits;                /* [queue_size + parallel + 1] seconds, of all that waits */
    struct kl_place places[KL_MAX_PARALLEL];
    struct kl_request *running[KL_MAX_PARALLEL]; /* NULL: a free place */
    uint64_t n_admitted;
    size_t max_pages; /* of the KV cache */
    bool has_events;  /* the client is to be woken */
    bool was_aborted; /* the last pass; nobody is admitted until one is completed */
};

/* ---- queues ---------------------------------------------------------------------------------- */

static void queue_append(struct request_queue *queue, struct kl_request *request)
{
    request->next = NULL;
    if (queue->head == NULL)
        queue->head = request;
    else
        queue->tail->next = request;
    queue->tail = request;
}

static struct kl_request *queue_take(struct request_queue *queue)
{
    struct kl_request *first = queue->head;
    if (first != NULL)
        queue->head = first->next;
    return first;
}

static void wake_client(struct kl_engine *engine)
{
    if (!engine->has_events)
        return;
    engine->has_events = false;
    uint64_t one = 1;
    /* fails only when the counter is full, and then the descriptor is readable anyway */
    ssize_t written = write(engine->wake_fd, &one, sizeof one);
    (void)written;
}

/* The end of a request that stands in no place any more. The counters move before the event goes
 * out: who sees the end finds room for the next request. */
static void finish(struct kl_engine *engine, struct kl_request *request, enum kl_finish finish,
                   const char *why)
{
    uint64_t now = kl_now_ns();
    pthread_mutex_lock(&engine->attention.lock);
    engine->n_requests--;
    engine->totals.kv_used_tokens = kl_kv_cache_used_tokens(engine->cache);
    engine->totals.requests_ended[finish]++;
    engine->totals.wasted_tokens += kl_request_wasted_tokens(request, finish);
    if (finish == KL_FINISH_STOP || finish == KL_FINISH_LENGTH) {
        kl_statistics_add_latency(&engine->measured, (double)(now - request->submitted_ns) * 1e-9);
        kl_statistics_add_answer(&engine->measured, kl_request_answer_tokens(request));
    }
    pthread_mutex_unlock(&engine->attention.lock);
    kl_request_finish(request, finish, why, now);
    engine->has_events = true;
}

/* Takes in what was submitted and lets go what ends before it had a place. */
static void tend_queue(struct kl_engine *engine)
{
    pthread_mutex_lock(&engine->attention.lock);
    struct request_queue arrived = engine->inbox;
    engine->inbox.head = NULL;
    pthread_mutex_unlock(&engine->attention.lock);

    struct request_queue before = engine->waiting;
    engine->waiting.head = NULL;
    struct kl_request *request;
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    while ((request = queue_take(&before)) != NULL || (request = queue_take(&arrived)) != NULL) {
        if (kl_request_must_end(request, now, &how))
            finish(engine, request, how, NULL);
        else
            queue_append(&engine->waiting, request);
    }
}

static double work_left(const struct kl_engine *engine, const struct kl_request *request)
{
    size_t computed = request->sequence != NULL ? kl_sequence_length(request->sequence) : 0;
    size_t prompt = request->n_prompt > computed ? request->n_prompt - computed : 0;
    /* an answer that goes on may go on as long again: nobody can see its end coming */
    return kl_statistics_work(&engine->measured, prompt,
                              request->max_answer - kl_request_answer_tokens(request));
}

/* Returns how long one that came now would wait; waits holds the seconds of all others. */
static double estimate_waits(struct kl_engine *engine)
{
    double running[KL_MAX_PARALLEL];
    size_t n_running = 0, n_waiting = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL)
            running[n_running++] = work_left(engine, engine->running[i]);
    }
    for (const struct kl_request *r = engine->waiting.head; r != NULL; r = r->next)
        engine->waits[n_waiting++] = work_left(engine, r);
    engine->waits[n_waiting] = 0.0;
    kl_schedule_waits(running, n_running, engine->options.parallel, engine->waits, n_waiting + 1);
    return engine->waits[n_waiting];
}

static void tell_positions(struct kl_engine *engine)
{
    uint32_t position = 0;
    uint64_t now = kl_now_ns();
    double wait = estimate_waits(engine);
    pthread_mutex_lock(&engine->attention.lock);
    for (size_t i = 0; i < KL_N_PRIORITIES; i++)
        engine->totals.expected_wait[i] = wait;
    pthread_mutex_unlock(&engine->attention.lock);
    for (struct kl_request *r = engine->waiting.head; r != NULL; r = r->next, position++) {
        if (kl_request_send_queued(r, position, engine->waits[position], now))
            engine->has_events = true;
    }
}

/* ---- places ---------------------------------------------------------------------------------- */

static void finish_place(struct kl_engine *engine, size_t place, enum kl_finish how,
                         const char *why)
{
    struct kl_request *request = engine->running[place];
    kl_sequence_free(request->sequence);
    request->sequence = NULL;
    engine->running[place] = NULL;
    engine->places[place] = (struct kl_place){.state = KL_PLACE_FREE};
    pthread_mutex_lock(&engine->attention.lock);
    engine->n_running--;
    pthread_mutex_unlock(&engine->attention.lock);
    finish(engine, request, how, why);
}

/* Cancelled, or out of time. */
static void end_places(struct kl_engine *engine)
{
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && kl_request_must_end(engine->running[i], now, &how))
            finish_place(engine, i, how, NULL);
    }
}

/* From the queue into free places. A pass that was aborted for one request is first completed for
 * the others: clients that come and go can not keep them from getting on. */
static void admit(struct kl_engine *engine)
{
    size_t parallel = engine->options.parallel;
    if (engine->was_aborted) {
        for (size_t i = 0; i < parallel; i++) {
            if (engine->running[i] != NULL)
                return;
        }
        engine->was_aborted = false;
    }
    while (engine->waiting.head != NULL) {
        size_t pages = kl_request_pages(engine->waiting.head);
        size_t place = kl_schedule_place(engine->places, parallel, pages, engine->max_pages);
        if (place == parallel)
            return;
        struct kl_request *request = queue_take(&engine->waiting);
        request->admitted_ns = kl_now_ns();
        struct kl_error err;
        if (kl_sequence_new(engine->cache, &request->sequence, &err) != KL_OK) {
            finish(engine, request, KL_FINISH_ERROR, err.text);
            continue;
        }
        engine->running[place] = request;
        engine->places[place] = (struct kl_place){
            .state = KL_PLACE_PREFILL, .order = engine->n_admitted++, .pages = pages};
        pthread_mutex_lock(&engine->attention.lock);
        engine->n_running++;
        pthread_mutex_unlock(&engine->attention.lock);
    }
}

/* Chooses the rows of the next step and makes room for them in the KV cache; a request that gets
 * none ends, and the choice is made again. Returns how many rows. */
static size_t plan_step(struct kl_engine *engine)
{
    size_t parallel = engine->options.parallel;
    bool again = true;
    size_t n_rows = 0;
    while (again) {
        again = false;
        for (size_t i = 0; i < parallel; i++) {
            struct kl_request *request = engine->running[i];
            if (request == NULL)
                continue;
            engine->places[i].remaining = request->n_tokens - kl_sequence_length(request->sequence);
            engine->places[i].paused = !kl_request_has_room(request);
        }
        n_rows = kl_schedule_rows(engine->places, parallel, engine->options.prefill_chunk);
        for (size_t i = 0; i < parallel; i++) {
            if (engine->places[i].rows == 0)
                continue;
            struct kl_sequence *sequence = engine->running[i]->sequence;
            struct kl_error err;
            if (kl_sequence_reserve(sequence, kl_sequence_length(sequence) + engine->places[i].rows,
                                    &err) != KL_OK) {
                finish_place(engine, i, KL_FINISH_ERROR, err.text);
                again = true;
            }
        }
    }
    return n_rows;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Asked by the forward pass at every layer. Results do not depend on which rows share a batch, so
 * a pass can be thrown away and done again without the request that was cancelled. */
static bool should_stop(void *context)
{
    struct kl_engine *engine = context;
    if (atomic_load_explicit(&engine->attention.wanted, memory_order_relaxed) &&
        atomic_exchange(&engine->attention.wanted, false)) {
        tend_queue(engine);
        tell_positions(engine);
        wake_client(engine);
    }
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->places[i].rows > 0 && kl_request_must_end(engine->running[i], now, &how))
            return true;
    }
    return atomic_load_explicit(&engine->closing, memory_order_relaxed);
}

static size_t fill_rows(struct kl_engine *engine)
{
    size_t n = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        size_t count = engine->places[i].rows;
        if (count == 0)
            continue;
        struct kl_request *request = engine->running[i];
        size_t at = kl_sequence_length(request->sequence);
        if (at + count == request->n_tokens)
            kl_sampler_wants(&request->sampling, request->tokens, request->n_tokens,
                             engine->n_vocab, engine->seen + i * engine->seen_words,
                             &engine->choices[i]);
        for (size_t row = 0; row < count; row++, at++) {
            bool last = at + 1 == request->n_tokens;
            engine->rows[n++] = (struct kl_row){.sequence = request->sequence,
                                                .token = request->tokens[at],
                                                .choice = last ? &engine->choices[i] : NULL};
        }
    }
    return n;
}

/* The logits of a place became ready: the next token of its answer. */
static void answer_place(struct kl_engine *engine, size_t place)
{
    struct kl_request *request = engine->running[place];
    engine->places[place].state = KL_PLACE_DECODE;
    if (request->answering_ns == 0)
        request->answering_ns = kl_now_ns();
    int32_t token = kl_sampler_choose(engine->sampler, &request->sampling, &engine->choices[place],
                                      &request->random);
    if (token < 0) {
        finish_place(engine, place, KL_FINISH_ERROR,
                     "the model computed no usable number for the next token: its file may be "
                     "damaged");
        return;
    }
    size_t before = request->n_tokens;
    bool sent;
    struct kl_error err;
    enum kl_answer answer = kl_request_accept(request, token, &sent, &err);
    pthread_mutex_lock(&engine->attention.lock);
    engine->totals.answer_tokens += request->n_tokens - before;
    pthread_mutex_unlock(&engine->attention.lock);
    if (sent)
        engine->has_events = true;
    if (answer == KL_ANSWER_STOPS)
        finish_place(engine, place, KL_FINISH_STOP, NULL);
    else if (answer == KL_ANSWER_FULL)
        finish_place(engine, place, KL_FINISH_LENGTH, NULL);
    else if (answer == KL_ANSWER_FAILED)
        finish_place(engine, place, KL_FINISH_ERROR, err.text);
}

/* What was computed becomes progress, text and ends. */
static void use_results(struct kl_engine *engine, double seconds)
{
    size_t prefill_rows = 0, decode_rows = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_place *place = &engine->places[i];
        if (place->state == KL_PLACE_PREFILL)
            prefill_rows += place->rows;
        else
            decode_rows += place->rows;
        if (place->rows > 0)
            engine->running[i]->n_computed += place->rows;
    }
    /* before any end is told, so that who sees it finds its work counted */
    pthread_mutex_lock(&engine->attention.lock);
    kl_statistics_add_step(&engine->measured, prefill_rows, decode_rows, seconds);
    engine->totals.prompt_tokens += prefill_rows;
    engine->totals.steps++;
    engine->totals.kv_used_tokens = kl_kv_cache_used_tokens(engine->cache);
    pthread_mutex_unlock(&engine->attention.lock);

    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (engine->places[i].rows == 0)
            continue;
        size_t length = kl_sequence_length(request->sequence);
        if (engine->places[i].state == KL_PLACE_PREFILL && kl_request_send_prefill(request, length))
            engine->has_events = true;
        if (length == request->n_tokens)
            answer_place(engine, i);
    }
}

static void step(struct kl_engine *engine)
{
    uint64_t start = kl_now_ns();
    size_t n_rows = fill_rows(engine);
    struct kl_error err;
    enum kl_status status =
        kl_forward_run(engine->forward, engine->rows, n_rows, should_stop, engine, &err);
    engine->was_aborted = status == KL_ERR_CANCELLED;
    if (status == KL_OK) {
        use_results(engine, kl_seconds_since(start));
    } else if (status != KL_ERR_CANCELLED) {
        for (size_t i = 0; i < engine->options.parallel; i++) {
            if (engine->places[i].rows > 0)
                finish_place(engine, i, KL_FINISH_ERROR, err.text);
        }
    }
}

/* ---- the engine thread ----------------------------------------------------------------------- */

/* When the first of those ends who wait, or stand still because nobody reads what they say. */
static uint64_t first_deadline(const struct kl_engine *engine)
{
    uint64_t first = UINT64_MAX;
    for (const struct kl_request *r = engine->waiting.head; r != NULL; r = r->next) {
        if (r->deadline_ns < first)
            first = r->deadline_ns;
    }
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && engine->running[i]->deadline_ns < first)
            first = engine->running[i]->deadline_ns;
    }
    return first;
}

static void wait_for_attention(struct kl_engine *engine)
{
    struct kl_attention *attention = &engine->attention;
    uint64_t deadline = first_deadline(engine);
    const struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u),
                                   .tv_nsec = (long)(deadline % 1000000000u)};
    int late = 0;
    pthread_mutex_lock(&attention->lock);
    while (!atomic_exchange(&attention->wanted, false) && late == 0) {
        if (deadline == UINT64_MAX)
            pthread_cond_wait(&attention->called, &attention->lock);
        else
            late = pthread_cond_timedwait(&attention->called, &attention->lock, &until);
    }
    pthread_mutex_unlock(&attention->lock);
}

static void *engine_main(void *argument)
{
    struct kl_engine *engine = argument;
    while (!atomic_load(&engine->closing)) {
        tend_queue(engine);
        end_places(engine);
        admit(engine);
        tell_positions(engine);
        size_t n_rows = plan_step(engine);
        wake_client(engine);
        if (n_rows > 0)
            step(engine);
        else
            wait_for_attention(engine);
    }
    tend_queue(engine);
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL)
            finish_place(engine, i, KL_FINISH_CANCELLED, NULL);
    }
    struct kl_request *request;
    while ((request = queue_take(&engine->waiting)) != NULL)
        finish(engine, request, KL_FINISH_CANCELLED, NULL);
    wake_client(engine);
    return NULL;
}

/* ---- the client's side ----------------------------------------------------------------------- */

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
    return status;
}

static size_t choice_bytes(const struct kl_engine *engine)
{
    return engine->options.parallel *
           (engine->n_found * sizeof *engine->found + engine->seen_words * sizeof *engine->seen);
}

/* All the memory of the engine but the KV pages. */
static enum kl_status open_parts(struct kl_engine *engine, const struct kl_model *model,
                                 struct kl_error *err)
{
    const struct kl_engine_options *o = &engine->options;
    size_t max_rows = o->parallel + o->prefill_chunk;
    const struct kl_threads threads = {
        o->n_threads, o->n_threads_prefill != 0 ? o->n_threads_prefill : o->n_threads};
    size_t n_threads = threads.decode > threads.prefill ? threads.decode : threads.prefill;
    enum kl_status status = kl_forward_open(model, max_rows, n_threads, &engine->forward, err);
    if (status == KL_OK)
        kl_forward_set_threads(engine->forward, threads);
    if (status == KL_OK)
        status = kl_sampler_open(engine->n_vocab, &engine->sampler, err);
    if (status != KL_OK)
        return status;
    engine->rows = calloc(max_rows, sizeof *engine->rows);
    engine->choices = calloc(o->parallel, sizeof *engine->choices);
    engine->found = calloc(o->parallel * engine->n_found, sizeof *engine->found);
    engine->seen = calloc(o->parallel * engine->seen_words, sizeof *engine->seen);
    engine->waits = calloc(o->queue_size + o->parallel + 1, sizeof *engine->waits);
    if (engine->rows == NULL || engine->waits == NULL || engine->choices == NULL ||
        engine->found == NULL || engine->seen == NULL)
        return kl_fail_memory(err, "the engine's logits", choice_bytes(engine));
    for (size_t i = 0; i < o->parallel; i++)
        engine->choices[i].found = engine->found + i * engine->n_found;
    engine->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (engine->wake_fd < 0)
        return kl_fail_errno(err, "the engine's event descriptor could not be made");
    return KL_OK;
}

/* Gives the KV cache what the plan has left for it. */
static enum kl_status open_cache(struct kl_engine *engine, const struct kl_model *model,
                                 struct kl_error *err)
{
    const struct kl_engine_options *o = &engine->options;
    struct kl_plan no_budget = {0}, *plan = o->plan != NULL ? o->plan : &no_budget;
    /* pages are not shared by sequences, so each one may end with a part of a page */
    size_t pages = (o->ctx_size + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    const struct kl_plan_kv kv = {.conversation = pages * KL_KV_PAGE_TOKENS,
                                  .parallel = o->parallel,
                                  .page_tokens = KL_KV_PAGE_TOKENS,
                                  .token_bytes = kl_kv_bytes_per_token(model)};
    kl_plan_add(plan, "buffers of the forward pass and of sampling", engine->totals.buffer_bytes,
                "--parallel");
    kl_plan_add(plan, "rows of the embedding table", kl_forward_table_bytes(), NULL);
    kl_plan_add(plan, "requests that run", o->parallel * kl_request_bytes(o->ctx_size),
                "--parallel");
    kl_plan_add(plan, "requests that wait", o->queue_size * kl_request_bytes(o->ctx_size),
                "--queue");
    enum kl_status status = kl_plan_kv(plan, &kv, err);
    if (status == KL_OK)
        status = kl_kv_cache_open(model, plan->kv_tokens, &engine->cache, err);
    if (status != KL_OK)
        return status;
    engine->totals.kv_max_tokens = kl_kv_cache_max_tokens(engine->cache);
    engine->max_pages = engine->totals.kv_max_tokens / KL_KV_PAGE_TOKENS;
    return KL_OK;
}

static void destroy(struct kl_engine *engine)
{
    if (engine->wake_fd >= 0)
        close(engine->wake_fd);
    free(engine->choices);
    free(engine->found);
    free(engine->seen);
    free(engine->rows);
    free(engine->waits);
    kl_sampler_close(engine->sampler);
    if (engine->cache != NULL)
        kl_kv_cache_close(engine->cache);
    if (engine->forward != NULL)
        kl_forward_close(engine->forward);
    pthread_cond_destroy(&engine->attention.called);
    pthread_mutex_destroy(&engine->attention.lock);
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
    engine->tokenizer = tokenizer;
    engine->wake_fd = -1;
    pthread_mutex_init(&engine->attention.lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->attention.called, &monotonic);
    pthread_condattr_destroy(&monotonic);
    engine->n_vocab = kl_model_config(model)->n_vocab;
    engine->n_found = (engine->n_vocab + KL_LANES - 1) / KL_LANES * KL_LANES;
    if (kl_tokenizer_size(tokenizer) < engine->n_vocab)
        engine->n_vocab = kl_tokenizer_size(tokenizer);
    engine->seen_words = engine->n_vocab / 64 + 1;

    status = open_parts(engine, model, err);
    if (status != KL_OK)
        goto fail;
    engine->totals = (struct kl_engine_stats){
        .parallel = options->parallel,
        .queue_size = options->queue_size,
        .ctx_size = options->ctx_size,
        .buffer_bytes = kl_forward_bytes(engine->forward) + choice_bytes(engine),
    };
    status = open_cache(engine, model, err);
    if (status != KL_OK)
        goto fail;
    /* signals are the main thread's business */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&engine->thread, NULL, engine_main, engine);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0) {
        errno = failed;
        status = kl_fail_errno(err, "the engine's thread could not be started");
        goto fail;
    }
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
    kl_attention_call(&engine->attention);
    pthread_join(engine->thread, NULL);
    destroy(engine);
}

enum kl_status kl_engine_submit(struct kl_engine *engine, const struct kl_request_options *options,
                                struct kl_request **out, struct kl_error *err)
{
    *out = NULL;
    const struct kl_engine_options *limits = &engine->options;
    struct kl_request *request;
    enum kl_status status = kl_request_new(options, limits->ctx_size, engine->n_vocab,
                                           engine->tokenizer, &engine->attention, &request, err);
    if (status != KL_OK)
        return status;
    pthread_mutex_lock(&engine->attention.lock);
    bool room = engine->n_requests < limits->parallel + limits->queue_size;
    if (room) {
        engine->n_requests++;
        queue_append(&engine->inbox, request);
    } else {
        engine->totals.requests_refused++;
    }
    pthread_mutex_unlock(&engine->attention.lock);
    if (!room) {
        kl_request_disown(request); /* the client's side */
        kl_request_disown(request); /* and the engine's */
        return kl_fail(err, KL_ERR_BUSY,
                       "the queue is full (%zu requests may run and %zu wait): try again later",
                       limits->parallel, limits->queue_size);
    }
    *out = request;
    kl_attention_call(&engine->attention);
    return KL_OK;
}

int kl_engine_wake_fd(const struct kl_engine *engine)
{
    return engine->wake_fd;
}

void kl_engine_wake_clear(struct kl_engine *engine)
{
    uint64_t count;
    ssize_t got = read(engine->wake_fd, &count, sizeof count); /* nothing there: fine as well */
    (void)got;
}

void kl_engine_stats(struct kl_engine *engine, struct kl_engine_stats *stats)
{
    pthread_mutex_lock(&engine->attention.lock);
    *stats = engine->totals;
    stats->running = engine->n_running;
    stats->queued = engine->n_requests - engine->n_running;
    struct kl_statistics measured = engine->measured;
    pthread_mutex_unlock(&engine->attention.lock);
    stats->latency_p50 = kl_statistics_latency(&measured, 50);
    stats->latency_p95 = kl_statistics_latency(&measured, 95);
    stats->prefill_speed = kl_speed_value(&measured.prefill);
    stats->decode_speed = kl_speed_value(&measured.decode);
}
