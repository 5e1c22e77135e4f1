#include "engine/engine_step.h"

#include "base/clock.h"
#include "engine/answer.h"
#include "engine/engine_counters.h"
#include "engine/prefix_reuse.h"
#include "engine/queues.h"
#include "engine/request_events.h"
#include "engine/slots.h"
#include "engine/waits.h"

/* ---- which rows ------------------------------------------------------------------------------ */

/* Running requests have their pages reserved: pages of the prefix cache make room for them. */
static enum kl_status reserve_pages(struct kl_engine *engine, size_t slot, struct kl_error *err)
{
    struct kl_sequence *sequence = engine->running[slot]->sequence;
    size_t length = kl_sequence_length(sequence) + engine->slots[slot].rows;
    kl_prefix_cache_make_room(engine->prefixes, kl_sequence_missing_pages(sequence, length));
    return kl_sequence_reserve(sequence, length, err);
}

/* Appends tokens that rules force where that is still to be done: to answers that begin, that go on
 * after a preemption, or whose forced text had no room. Returns whether a request ended. */
static bool follow_rules(struct kl_engine *engine)
{
    bool some_ended = false;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        struct kl_error err;
        if (request == NULL || !request->rule.forces_more || engine->slots[i].paused)
            continue;
        size_t before = request->n_tokens;
        enum kl_answer answer = kl_answer_follow_rule(request, &err);
        kl_counters_answer(engine, request->n_tokens - before);
        if (answer == KL_ANSWER_CONTINUES)
            continue;
        kl_request_send_text(request);
        kl_slot_finish(engine, i, kl_answer_finish(answer), &err);
        some_ended = true;
    }
    return some_ended;
}

/* Whether answers of other engines wait for each pass of this one. */
static bool others_decode(const struct kl_engine *engine)
{
    for (const struct kl_engine *e = engine->thread->engines; e != NULL; e = e->next) {
        for (size_t i = 0; e != engine && i < e->options.parallel; i++) {
            if (e->slots[i].state == KL_SLOT_DECODE && !e->slots[i].paused)
                return true;
        }
    }
    return false;
}

size_t kl_step_plan(struct kl_engine *engine)
{
    size_t parallel = engine->options.parallel, chunk = engine->options.prefill_chunk;
    bool again = true;
    size_t n_rows = 0;
    while (again) {
        kl_slots_update(engine);
        again = follow_rules(engine);
        if (again)
            kl_wakeup_signal(engine->wakeup);
        kl_slots_update(engine);
        size_t shared = kl_schedule_shared_chunk(engine->measured.row_seconds, chunk);
        n_rows = kl_schedule_rows(engine->slots, parallel, others_decode(engine) ? shared : chunk,
                                  shared);
        n_rows += kl_propose(engine, n_rows);
        for (size_t i = 0; i < parallel; i++) {
            if (engine->slots[i].rows == 0)
                continue;
            struct kl_error err;
            engine->step_level = engine->slots[i].level;
            if (reserve_pages(engine, i, &err) != KL_OK) {
                kl_slot_finish(engine, i, KL_FINISH_ERROR, &err);
                again = true;
                /* a queued request may start in its slot: do not sleep before that is checked */
                kl_wakeup_signal(engine->wakeup);
            }
        }
    }
    return n_rows;
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* Whether an engine of the thread can run a request of a lower level than the step's. */
static bool some_has_lower(const struct kl_engine *engine)
{
    if (engine->step_level == 0)
        return false;
    for (struct kl_engine *e = engine->thread->engines; e != NULL; e = e->next) {
        if (kl_queues_has_lower(e, engine->step_level))
            return true;
    }
    return false;
}

/* Called at every operation of every layer; returns whether the pass is to be abandoned. Results do
 * not depend on which rows share a batch, so a pass may be run again without a request that ended;
 * and the pass of a higher level later, after a request of a lower one. */
static bool should_stop(void *context)
{
    struct kl_engine *engine = context;
    if (kl_wakeup_take(engine->wakeup)) {
        struct kl_engine *engines = engine->thread->engines;
        for (struct kl_engine *e = engines; e != NULL; e = e->next)
            kl_queues_update(e);
        kl_waits_update(engine->thread);
        for (struct kl_engine *e = engines; e != NULL; e = e->next)
            kl_client_wakeup_flush(&e->clients);
    }
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->slots[i].rows > 0 && kl_request_must_end(engine->running[i], now, &how))
            return true;
    }
    engine->has_yielded = some_has_lower(engine);
    return engine->has_yielded || atomic_load_explicit(&engine->closing, memory_order_relaxed);
}

static void fill_batch(struct kl_engine *engine)
{
    kl_batch_clear(&engine->batch);
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->slots[i].rows > 0)
            kl_batch_add(&engine->batch, i, engine->running[i], engine->slots[i].rows);
    }
}

/* ---- the results ----------------------------------------------------------------------------- */

static void count_rows(struct kl_engine *engine, double seconds)
{
    struct kl_step_rows rows = {.all = engine->batch.n_rows};
    for (size_t i = 0; i < engine->options.parallel; i++) {
        const struct kl_slot *slot = &engine->slots[i];
        struct kl_request *request = engine->running[i];
        if (slot->rows == 0)
            continue;
        request->n_computed += slot->rows;
        if (slot->state == KL_SLOT_DECODE)
            rows.decode += slot->rows - request->n_proposed; /* those are added once accepted */
        else if (kl_request_has_client(request))
            rows.prompt += slot->rows;
        else
            rows.precomputed += slot->rows;
    }
    bool had_speeds = kl_statistics_work(&engine->measured, 1, 1) > 0.0;
    kl_counters_step(engine, rows, seconds);
    if (!had_speeds) /* perhaps now: then waits can be estimated */
        engine->waits_changed = true;
}

/* Tokens for which it is likely that candidates go on to be too many for a narrow row. */
#define WIDE_TOKENS 16

/* Chooses and accepts the next tokens of a slot's answer, and truncates its sequence to tokens that
 * were accepted. */
static enum kl_answer continue_answer(struct kl_engine *engine, size_t slot, struct kl_error *err)
{
    struct kl_request *request = engine->running[slot];
    struct kl_answer_rows *rows = &engine->batch.answers[slot];
    size_t before = request->n_tokens, n_proposed = request->n_proposed, n_used;
    engine->slots[slot].state = KL_SLOT_DECODE;
    if (request->decoding_ns == 0)
        request->decoding_ns = kl_now_ns();
    enum kl_answer answer = kl_answer_choose(request, engine->sampler, rows, &n_used, err);
    kl_counters_answer(engine, request->n_tokens - before);
    kl_proposals_count(&engine->proposals, slot, n_used, n_proposed);
    for (size_t row = 1; row < rows->n; row++)
        if (rows->candidates[row].overflow)
            request->wide_until = request->n_tokens + WIDE_TOKENS;
    size_t n_accepted = n_used - 1 < n_proposed ? n_used - 1 : n_proposed;
    request->n_drafted += n_proposed;
    request->n_accepted += n_accepted;
    if (n_proposed > 0)
        kl_counters_draft(engine, engine->proposals.sources[slot], n_proposed, n_accepted);
    size_t length = kl_sequence_length(request->sequence), right = before - 1 + n_used;
    if (right < length)
        kl_sequence_truncate(request->sequence, right);
    return answer;
}

/* Whole pages are shared as soon as they are computed: for requests that start now and begin alike,
 * and so that they are written to disk one by one. */
static void share_whole_pages(struct kl_engine *engine, const struct kl_request *request,
                              size_t from, size_t to)
{
    if (kl_request_shares(request) && from / KL_KV_PAGE_TOKENS < to / KL_KV_PAGE_TOKENS)
        kl_prefix_share(engine, request, to / KL_KV_PAGE_TOKENS * KL_KV_PAGE_TOKENS);
}

/* Pools the hidden vectors of the rows of a slot; ends its request once its embedding is complete.
 */
static void continue_embedding(struct kl_engine *engine, size_t slot, size_t first_row, size_t from)
{
    struct kl_request *request = engine->running[slot];
    struct kl_error err;
    kl_embedding_add(request->embedding, engine->forward, first_row, engine->slots[slot].rows,
                     from);
    if (!kl_embedding_is_complete(request->embedding))
        return;
    enum kl_status status = kl_embedding_finish(request->embedding, &err);
    kl_slot_finish(engine, slot, status == KL_OK ? KL_FINISH_STOP : KL_FINISH_ERROR, &err);
}

/* first_row: of the slot, in the batch */
static void deliver_slot(struct kl_engine *engine, size_t slot, size_t first_row)
{
    struct kl_request *request = engine->running[slot];
    size_t from = kl_sequence_length(request->sequence) - engine->slots[slot].rows;
    /* a request that goes on after a preemption has reported its prefill before */
    bool reports_prefill =
        kl_request_has_client(request) && request->decoding_ns == 0 && from < request->n_prompt;
    enum kl_answer answer = KL_ANSWER_CONTINUES;
    struct kl_error err;
    if (engine->batch.answers[slot].n > 0)
        answer = continue_answer(engine, slot, &err);
    size_t length = kl_sequence_length(request->sequence);
    share_whole_pages(engine, request, from, length);
    bool sent =
        reports_prefill &&
        kl_request_send_prefill(request, length < request->n_prompt ? length : request->n_prompt);
    if (length >= request->n_prompt) /* forced text may be there before */
        sent = kl_request_send_text(request) || sent;
    engine->clients.pending = engine->clients.pending || sent;
    if (request->embedding != NULL)
        continue_embedding(engine, slot, first_row, from);
    else if (answer != KL_ANSWER_CONTINUES)
        kl_slot_finish(engine, slot, kl_answer_finish(answer), &err);
    else if (!kl_request_is_answer(request) && length == request->n_tokens)
        kl_slot_finish(engine, slot, KL_FINISH_STOP, NULL);
}

void kl_step_run(struct kl_engine *engine)
{
    uint64_t start = kl_now_ns();
    struct kl_batch *batch = &engine->batch;
    struct kl_error err;
    fill_batch(engine);
    engine->has_yielded = false;
    enum kl_status status =
        kl_forward_run(engine->forward, batch->rows, batch->n_rows, should_stop, engine, &err);
    engine->was_aborted = status == KL_ERR_CANCELLED && !engine->has_yielded;
    if (status == KL_ERR_CANCELLED)
        return;
    if (status == KL_OK)
        count_rows(engine, kl_seconds_since(start));
    size_t row = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        size_t n_rows = engine->slots[i].rows;
        if (n_rows == 0)
            continue;
        if (status == KL_OK)
            deliver_slot(engine, i, row);
        else
            kl_slot_finish(engine, i, KL_FINISH_ERROR, &err);
        row += n_rows;
    }
}
