#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine_state.h"

#define LOADED_PAGES 8 /* from disk at once: a few milliseconds, or 60 where it is a slow card */

/* ---- queues ---------------------------------------------------------------------------------- */

void kl_queue_append(struct kl_request_queue *queue, struct kl_request *request)
{
    request->next = NULL;
    if (queue->head == NULL)
        queue->head = request;
    else
        queue->tail->next = request;
    queue->tail = request;
}

static void queue_put_back(struct kl_request_queue *queue, struct kl_request *request)
{
    request->next = queue->head;
    if (queue->head == NULL)
        queue->tail = request;
    queue->head = request;
}

static struct kl_request *queue_take(struct kl_request_queue *queue)
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

/* Under the lock. */
static void update_memory_counters(struct kl_engine *engine)
{
    struct kl_prefix_cache_stats cache = kl_prefix_cache_stats(engine->prefixes);
    engine->totals.kv_used_tokens = kl_kv_cache_used_tokens(engine->kv);
    engine->totals.cache_pages = cache.pages;
    engine->totals.cache_bytes = (uint64_t)cache.pages * kl_kv_cache_page_bytes(engine->kv);
    engine->totals.cache_evictions = cache.evictions;
    engine->totals.cache_loaded_pages = cache.loaded;
}

/* The end of a request that stands in no slot any more. The counters move before the event goes
 * out: who sees the end finds room for the next request. */
static void finish(struct kl_engine *engine, struct kl_request *request, enum kl_finish finish,
                   const struct kl_error *why)
{
    uint64_t now = kl_now_ns();
    pthread_mutex_lock(&engine->wakeup.lock);
    update_memory_counters(engine);
    if (request->level != KL_LEVEL_PRECOMPUTE) {
        engine->n_requests--;
        engine->totals.requests_ended[finish]++;
        engine->totals.wasted_tokens += kl_request_wasted_tokens(request, finish);
    }
    if (request->level != KL_LEVEL_PRECOMPUTE && kl_finish_is_complete(finish)) {
        kl_statistics_add_latency(&engine->measured, (double)(now - request->submitted_ns) * 1e-9);
        kl_statistics_add_answer(&engine->measured, kl_request_answer_tokens(request));
    }
    pthread_mutex_unlock(&engine->wakeup.lock);
    kl_request_finish(request, finish, why, now);
    engine->has_events = true;
}

/* Lets go what ends before it has a slot. */
static void tend_level(struct kl_engine *engine, struct kl_request_queue *queue, uint64_t now)
{
    struct kl_request_queue before = *queue;
    struct kl_request *request;
    enum kl_finish how;
    queue->head = NULL;
    while ((request = queue_take(&before)) != NULL) {
        if (kl_request_must_end(request, now, &how)) {
            engine->waits_changed = true;
            finish(engine, request, how, NULL);
        } else {
            kl_queue_append(queue, request);
        }
    }
}

/* Takes in what was submitted. */
static void tend_queues(struct kl_engine *engine)
{
    pthread_mutex_lock(&engine->wakeup.lock);
    struct kl_request_queue arrived = engine->inbox;
    engine->inbox.head = NULL;
    pthread_mutex_unlock(&engine->wakeup.lock);
    struct kl_request *request;
    while ((request = queue_take(&arrived)) != NULL) {
        engine->waits_changed = true;
        kl_queue_append(&engine->waiting[request->level], request);
    }
    uint64_t now = kl_now_ns();
    for (size_t level = 0; level < KL_N_LEVELS; level++)
        tend_level(engine, &engine->waiting[level], now);
}

/* ---- how long those who wait will wait ------------------------------------------------------- */

static double work_left(const struct kl_engine *engine, const struct kl_request *request)
{
    size_t computed = request->sequence != NULL ? kl_sequence_length(request->sequence) : 0;
    /* an answer that goes on may go on as long again: nobody can see its end coming */
    return kl_statistics_work(&engine->measured, request->n_tokens - computed,
                              request->max_answer - kl_request_answer_tokens(request));
}

/* Fills waits for all that wait up to a level, in the order in which they will begin, and returns
 * how long one of that level that came now would wait. */
static double estimate_waits(struct kl_engine *engine, unsigned level)
{
    double running[KL_MAX_PARALLEL];
    size_t n_slots = engine->options.parallel, n_running = 0, n_waiting = 0;
    for (size_t i = 0; i < n_slots; i++) {
        if (engine->running[i] != NULL && engine->running[i]->level <= level)
            running[n_running++] = work_left(engine, engine->running[i]);
    }
    for (size_t l = 0; l <= level; l++) {
        for (const struct kl_request *r = engine->waiting[l].head; r != NULL; r = r->next)
            engine->waits[n_waiting++] = work_left(engine, r);
    }
    if (n_waiting > 0 && n_running > 0 && engine->blocked_level <= level)
        n_slots = n_running; /* those who wait do so for memory, or for a lower level */
    engine->waits[n_waiting] = 0.0;
    kl_schedule_waits(running, n_running, n_slots, engine->waits, n_waiting + 1);
    return engine->waits[n_waiting];
}

/* When a request came, began or left, and once a second while steps are taken: work gets less. */
static void tell_positions(struct kl_engine *engine)
{
    uint64_t now = kl_now_ns();
    if (!engine->waits_changed && now - engine->waits_told_ns < KL_TELL_AGAIN_NS)
        return;
    engine->waits_changed = false;
    engine->waits_told_ns = now;
    double expected[KL_N_PRIORITIES];
    uint32_t position = 0;
    for (unsigned level = 0; level < KL_N_PRIORITIES; level++) {
        expected[level] = estimate_waits(engine, level);
        for (struct kl_request *r = engine->waiting[level].head; r != NULL; r = r->next) {
            if (kl_request_send_queued(r, position, engine->waits[position], now))
                engine->has_events = true;
            position++;
        }
    }
    pthread_mutex_lock(&engine->wakeup.lock);
    memcpy(engine->totals.expected_wait, expected, sizeof expected);
    engine->totals.wait_estimates++;
    pthread_mutex_unlock(&engine->wakeup.lock);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static enum kl_keep keep_of(const struct kl_request *request)
{
    static const enum kl_keep keep[KL_N_LEVELS] = {[KL_PRIORITY_INTERACTIVE] = KL_KEEP_INTERACTIVE,
                                                   [KL_PRIORITY_BACKGROUND] = KL_KEEP_BACKGROUND,
                                                   [KL_LEVEL_PRECOMPUTE] = KL_KEEP_PINNED};
    return keep[request->level];
}

/* Keeps the first n tokens that were computed for a request. */
static void keep_prefix(struct kl_engine *engine, const struct kl_request *request, size_t n)
{
    kl_prefix_cache_insert(engine->prefixes, request->cache_scope, keep_of(request),
                           request->tokens, n, request->sequence);
}

/* A request leaves its slot; what was computed for it is kept. */
static struct kl_request *leave_slot(struct kl_engine *engine, size_t slot, bool keep)
{
    engine->waits_changed = true;
    struct kl_request *request = engine->running[slot];
    if (keep)
        keep_prefix(engine, request, kl_sequence_length(request->sequence));
    kl_sequence_free(request->sequence);
    request->sequence = NULL;
    engine->running[slot] = NULL;
    engine->slots[slot] = (struct kl_slot){.state = KL_SLOT_FREE};
    pthread_mutex_lock(&engine->wakeup.lock);
    engine->n_running -= request->level != KL_LEVEL_PRECOMPUTE;
    pthread_mutex_unlock(&engine->wakeup.lock);
    return request;
}

static void finish_slot(struct kl_engine *engine, size_t slot, enum kl_finish how,
                        const struct kl_error *why)
{
    finish(engine, leave_slot(engine, slot, how != KL_FINISH_ERROR), how, why);
}

/* Cancelled, or out of time. */
static void end_slots(struct kl_engine *engine)
{
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && kl_request_must_end(engine->running[i], now, &how))
            finish_slot(engine, i, how, NULL);
    }
}

static void begin(struct kl_engine *engine, struct kl_request *request, size_t slot, size_t pages)
{
    struct kl_error err;
    if (request->admitted_ns == 0)
        request->admitted_ns = kl_now_ns();
    if (kl_sequence_new(engine->kv, &request->sequence, &err) != KL_OK) {
        finish(engine, request, KL_FINISH_ERROR, &err);
        return;
    }
    request->is_loading = true;
    engine->waits_changed = true;
    engine->running[slot] = request;
    engine->seen[slot].n = 0;
    engine->slots[slot] = (struct kl_slot){.state = KL_SLOT_PREFILL,
                                           .level = request->level,
                                           .order = engine->n_admitted++,
                                           .pages = pages};
    pthread_mutex_lock(&engine->wakeup.lock);
    engine->n_running += request->level != KL_LEVEL_PRECOMPUTE;
    pthread_mutex_unlock(&engine->wakeup.lock);
}

/* Gives a request that was just begun what is known of its tokens. The last one is always computed:
 * what follows it is what the request is for. */
static void reuse(struct kl_engine *engine, struct kl_request *request)
{
    bool again = request->has_looked;
    size_t cached =
        kl_prefix_cache_lookup(engine->prefixes, request->cache_scope, keep_of(request),
                               request->tokens, request->n_tokens - 1, request->sequence);
    request->is_loading = false;
    request->has_looked = true;
    if (!again)
        request->n_cached = cached;
    pthread_mutex_lock(&engine->wakeup.lock);
    if (!again && request->level != KL_LEVEL_PRECOMPUTE) {
        engine->totals.cache_hit_tokens += cached;
        engine->totals.cache_miss_tokens += request->n_prompt - cached;
    }
    update_memory_counters(engine);
    pthread_mutex_unlock(&engine->wakeup.lock);
}

/* Whether another one is computing pages that this one, just begun, could use: of n answers to one
 * prompt, say. One that stands still is not waited for. */
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
        while (same < request->n_tokens - 1 && same < other->n_tokens &&
               request->tokens[same] == other->tokens[same])
            same++;
        if (same / KL_KV_PAGE_TOKENS > computed / KL_KV_PAGE_TOKENS)
            return true;
    }
    return false;
}

/* Brings pages from disk for those who were just begun, a few of each between two steps, so that
 * others' text does not stop. Returns the lowest level of those for whom there are more;
 * KL_N_LEVELS: all are ready, or wait for another one's pages. */
static unsigned load_pages(struct kl_engine *engine)
{
    unsigned level = KL_N_LEVELS;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (request == NULL || !request->is_loading)
            continue;
        bool more = kl_prefix_cache_load(engine->prefixes, request->cache_scope, keep_of(request),
                                         request->tokens, request->n_tokens - 1, LOADED_PAGES);
        if (more && request->level < level)
            level = request->level;
        else if (!more && !is_being_computed(engine, request))
            reuse(engine, request);
    }
    return level;
}

/* The first that waits at a level. false: it goes on waiting. */
static bool admit_first(struct kl_engine *engine, unsigned level)
{
    struct kl_request_queue *queue = &engine->waiting[level];
    size_t pages = kl_request_pages(queue->head), slot;
    size_t max_pages =
        level == KL_PRIORITY_INTERACTIVE ? engine->max_pages : engine->max_pages_idle;
    enum kl_start admission;
    while ((admission = kl_schedule_start(engine->slots, engine->options.parallel, level, pages,
                                          max_pages, &slot)) == KL_START_PREEMPT) {
        struct kl_request *yields = leave_slot(engine, slot, true);
        queue_put_back(&engine->waiting[yields->level], yields);
    }
    if (admission == KL_START_WAIT)
        return false;
    begin(engine, queue_take(queue), slot, pages);
    return true;
}

static bool runs_at(const struct kl_engine *engine, unsigned level)
{
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && engine->running[i]->level == level)
            return true;
    }
    return false;
}

/* From the queues into slots. A pass that was given up for one request is first completed for the
 * others of its level: clients that come and go can not keep them from getting on. */
static void admit(struct kl_engine *engine)
{
    if (engine->was_aborted && !runs_at(engine, engine->step_level))
        engine->was_aborted = false;
    engine->blocked_level = KL_N_LEVELS;
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        while (engine->waiting[level].head != NULL) {
            bool held = engine->was_aborted && level >= engine->step_level;
            if (held || !admit_first(engine, level)) {
                engine->blocked_level = level;
                return;
            }
        }
    }
}

static void examine_slots(struct kl_engine *engine)
{
    size_t paused = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (request == NULL)
            continue;
        engine->slots[i].remaining = request->n_tokens - kl_sequence_length(request->sequence);
        bool unread = !kl_request_has_room(request);
        engine->slots[i].paused = unread || request->is_loading;
        paused += unread;
    }
    if (paused == engine->totals.paused) /* only this thread writes it */
        return;
    pthread_mutex_lock(&engine->wakeup.lock);
    engine->totals.paused = paused;
    pthread_mutex_unlock(&engine->wakeup.lock);
}

/* ---- the next step --------------------------------------------------------------------------- */

/* Pages that are only kept make room: requests were promised theirs. */
static enum kl_status reserve_rows(struct kl_engine *engine, size_t slot, struct kl_error *err)
{
    struct kl_sequence *sequence = engine->running[slot]->sequence;
    size_t length = kl_sequence_length(sequence) + engine->slots[slot].rows;
    kl_prefix_cache_make_room(engine->prefixes, kl_sequence_missing_pages(sequence, length));
    return kl_sequence_reserve(sequence, length, err);
}

/* Chooses the rows of the next step and makes room for them in the KV cache; a request that gets
 * none ends, and the choice is made again. Returns how many rows. */
static size_t plan_step(struct kl_engine *engine)
{
    size_t parallel = engine->options.parallel, chunk = engine->options.prefill_chunk;
    bool again = true;
    size_t n_rows = 0;
    while (again) {
        again = false;
        examine_slots(engine);
        n_rows = kl_schedule_rows(engine->slots, parallel, chunk,
                                  kl_schedule_shared_chunk(engine->measured.row_seconds, chunk));
        for (size_t i = 0; i < parallel; i++) {
            if (engine->slots[i].rows == 0)
                continue;
            struct kl_error err;
            engine->step_level = engine->slots[i].level;
            if (reserve_rows(engine, i, &err) != KL_OK) {
                finish_slot(engine, i, KL_FINISH_ERROR, &err);
                again = true;
                /* somebody may wait for its slot: look before sleeping */
                kl_wakeup_signal(&engine->wakeup);
            }
        }
    }
    return n_rows;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Whether somebody of a lower level than those in the running step came, or can go on again because
 * what he said was read. */
static bool is_wanted_below(const struct kl_engine *engine)
{
    for (unsigned level = 0; level < engine->step_level && level < engine->blocked_level; level++) {
        if (engine->waiting[level].head != NULL)
            return true;
    }
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (request != NULL && request->level < engine->step_level && kl_request_has_room(request))
            return true;
    }
    return false;
}

/* Asked by the forward pass at every step of every layer. Results do not depend on which rows share
 * a batch, so a pass can be thrown away and done again without the request that ends; and the pass
 * of a higher level later, when a request of a lower one comes. */
static bool should_stop(void *context)
{
    struct kl_engine *engine = context;
    if (atomic_load_explicit(&engine->wakeup.wanted, memory_order_relaxed) &&
        atomic_exchange(&engine->wakeup.wanted, false)) {
        tend_queues(engine);
        tell_positions(engine);
        wake_client(engine);
    }
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->slots[i].rows > 0 && kl_request_must_end(engine->running[i], now, &how))
            return true;
    }
    engine->has_yielded = is_wanted_below(engine);
    return engine->has_yielded || atomic_load_explicit(&engine->closing, memory_order_relaxed);
}

static size_t fill_rows(struct kl_engine *engine)
{
    size_t n = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        size_t count = engine->slots[i].rows;
        if (count == 0)
            continue;
        struct kl_request *request = engine->running[i];
        size_t at = kl_sequence_length(request->sequence);
        bool answers = at + count == request->n_tokens && request->level != KL_LEVEL_PRECOMPUTE;
        if (answers)
            kl_sampler_wants(&request->sampling, request->tokens, request->n_tokens,
                             engine->n_vocab, &engine->seen[i], &engine->choices[i]);
        for (size_t row = 0; row < count; row++, at++) {
            bool last = answers && row + 1 == count;
            engine->rows[n++] = (struct kl_row){.sequence = request->sequence,
                                                .token = request->tokens[at],
                                                .choice = last ? &engine->choices[i] : NULL};
        }
    }
    return n;
}

/* The logits of a slot became ready: the next token of its answer. */
static void answer_slot(struct kl_engine *engine, size_t slot)
{
    struct kl_request *request = engine->running[slot];
    engine->slots[slot].state = KL_SLOT_DECODE;
    if (request->answering_ns == 0)
        request->answering_ns = kl_now_ns();
    int32_t token = kl_sampler_choose(engine->sampler, &request->sampling, &engine->choices[slot],
                                      &request->random);
    struct kl_error err;
    if (token < 0) {
        kl_fail(&err, KL_ERR_FORMAT,
                "the model computed no usable number for the next token: its file may be damaged");
        finish_slot(engine, slot, KL_FINISH_ERROR, &err);
        return;
    }
    size_t before = request->n_tokens;
    bool sent;
    enum kl_answer answer = kl_request_accept(request, token, &sent, &err);
    pthread_mutex_lock(&engine->wakeup.lock);
    engine->totals.answer_tokens += request->n_tokens - before;
    pthread_mutex_unlock(&engine->wakeup.lock);
    if (sent)
        engine->has_events = true;
    if (answer == KL_ANSWER_STOPS)
        finish_slot(engine, slot, KL_FINISH_STOP, NULL);
    else if (answer == KL_ANSWER_FULL)
        finish_slot(engine, slot, KL_FINISH_LENGTH, NULL);
    else if (answer == KL_ANSWER_REPEATS)
        finish_slot(engine, slot, KL_FINISH_REPETITION, NULL);
    else if (answer == KL_ANSWER_FAILED)
        finish_slot(engine, slot, KL_FINISH_ERROR, &err);
}

/* Whole pages are kept as soon as they are computed: for those who come now and begin alike, and so
 * that they go to disk one by one. */
static void keep_whole_pages(struct kl_engine *engine, const struct kl_request *request,
                             size_t from, size_t to)
{
    if (from / KL_KV_PAGE_TOKENS < to / KL_KV_PAGE_TOKENS)
        keep_prefix(engine, request, to / KL_KV_PAGE_TOKENS * KL_KV_PAGE_TOKENS);
}

/* Rows of a prompt were computed. */
static void tell_prefill(struct kl_engine *engine, struct kl_request *request, size_t length)
{
    if (request->level == KL_LEVEL_PRECOMPUTE)
        return;
    /* one that goes on after it gave its slot up has told its prompt's progress before */
    if (request->answering_ns == 0 && kl_request_send_prefill(request, length))
        engine->has_events = true;
}

/* Counts what was computed, before any end is told, so that who sees it finds its work counted. */
static void count_step(struct kl_engine *engine, double seconds)
{
    size_t prefill_rows = 0, decode_rows = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_slot *slot = &engine->slots[i];
        if (slot->rows == 0)
            continue;
        engine->running[i]->n_computed += slot->rows;
        if (slot->state == KL_SLOT_PREFILL)
            prefill_rows += slot->rows;
        else
            decode_rows += slot->rows;
    }
    bool knew = kl_statistics_work(&engine->measured, 1, 1) > 0.0;
    pthread_mutex_lock(&engine->wakeup.lock);
    kl_statistics_add_step(&engine->measured, prefill_rows, decode_rows, seconds);
    if (!knew) /* perhaps now: then waits can be told */
        engine->waits_changed = true;
    if (engine->step_level == KL_LEVEL_PRECOMPUTE) /* a step is of one level */
        engine->totals.warmed_tokens += prefill_rows;
    else
        engine->totals.prompt_tokens += prefill_rows;
    engine->totals.steps++;
    update_memory_counters(engine);
    pthread_mutex_unlock(&engine->wakeup.lock);
}

/* What was computed becomes progress, text and ends. */
static void use_results(struct kl_engine *engine)
{
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (engine->slots[i].rows == 0)
            continue;
        size_t length = kl_sequence_length(request->sequence);
        if (engine->slots[i].state == KL_SLOT_PREFILL)
            tell_prefill(engine, request, length);
        keep_whole_pages(engine, request, length - engine->slots[i].rows, length);
        if (length < request->n_tokens)
            continue;
        if (request->level == KL_LEVEL_PRECOMPUTE)
            finish_slot(engine, i, KL_FINISH_STOP, NULL);
        else
            answer_slot(engine, i);
    }
}

static void step(struct kl_engine *engine)
{
    uint64_t start = kl_now_ns();
    size_t n_rows = fill_rows(engine);
    struct kl_error err;
    engine->has_yielded = false;
    enum kl_status status =
        kl_forward_run(engine->forward, engine->rows, n_rows, should_stop, engine, &err);
    engine->was_aborted = status == KL_ERR_CANCELLED && !engine->has_yielded;
    if (status == KL_OK) {
        count_step(engine, kl_seconds_since(start));
        use_results(engine);
    } else if (status != KL_ERR_CANCELLED) {
        for (size_t i = 0; i < engine->options.parallel; i++) {
            if (engine->slots[i].rows > 0)
                finish_slot(engine, i, KL_FINISH_ERROR, &err);
        }
    }
}

/* ---- the engine thread ----------------------------------------------------------------------- */

/* When the first of those ends who wait, or stand still because nobody reads what they say. */
static uint64_t first_deadline(const struct kl_engine *engine)
{
    uint64_t first = UINT64_MAX;
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        for (const struct kl_request *r = engine->waiting[level].head; r != NULL; r = r->next) {
            if (r->deadline_ns < first)
                first = r->deadline_ns;
        }
    }
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && engine->running[i]->deadline_ns < first)
            first = engine->running[i]->deadline_ns;
    }
    return first;
}

static void wait_for_wakeup(struct kl_engine *engine)
{
    struct kl_wakeup *wakeup = &engine->wakeup;
    uint64_t deadline = first_deadline(engine);
    const struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u),
                                   .tv_nsec = (long)(deadline % 1000000000u)};
    int late = 0;
    pthread_mutex_lock(&wakeup->lock);
    while (!atomic_exchange(&wakeup->wanted, false) && late == 0) {
        if (deadline == UINT64_MAX)
            pthread_cond_wait(&wakeup->called, &wakeup->lock);
        else
            late = pthread_cond_timedwait(&wakeup->called, &wakeup->lock, &until);
    }
    pthread_mutex_unlock(&wakeup->lock);
}

static void end_all(struct kl_engine *engine)
{
    tend_queues(engine);
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL)
            finish_slot(engine, i, KL_FINISH_CANCELLED, NULL);
    }
    struct kl_request *request;
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        while ((request = queue_take(&engine->waiting[level])) != NULL)
            finish(engine, request, KL_FINISH_CANCELLED, NULL);
    }
    wake_client(engine);
}

void *kl_engine_main(void *argument)
{
    struct kl_engine *engine = argument;
    while (!atomic_load(&engine->closing)) {
        tend_queues(engine);
        end_slots(engine);
        examine_slots(engine);
        admit(engine);
        tell_positions(engine);
        unsigned loading = load_pages(engine);
        size_t n_rows = plan_step(engine);
        wake_client(engine);
        if (n_rows > 0 && engine->step_level <= loading)
            step(engine);
        else if (loading == KL_N_LEVELS)
            wait_for_wakeup(engine);
    }
    end_all(engine);
    return NULL;
}
