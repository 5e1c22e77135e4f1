#include "service/generation.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/embedding_work.h"
#include "service/generation_log.h"
#include "service/preparation.h"

/* Streams promise to send something every second. */
#define SILENCE_NS 700000000u
static_assert(SILENCE_NS + KL_SERVICE_TICK_US * 1000 < 1000000000,
              "the next tick after that time comes within a second");

#define TEXT_IS_NEAR_NS  1e8
#define MODEL_IS_NEAR_NS 250000000u

/* ---- waiting --------------------------------------------------------------------------------- */

static bool is_waiting(const struct kl_generation *g)
{
    return g->n_choices == 0;
}

void kl_generation_send_progress(struct kl_generation *g)
{
    char text[64];
    if (g->format->heartbeat == NULL)
        return;
    if (is_waiting(g) && kl_hosted_is_open(g->model)) {
        snprintf(text, sizeof text, "reading");
    } else if (is_waiting(g) && g->service->host.n > 0 && g->model->state != KL_HOSTED_OPENING) {
        snprintf(text, sizeof text, "loading, waiting for the place of another model");
    } else if (is_waiting(g)) {
        struct kl_startup_state state;
        char stage[48];
        kl_startup_read(&g->service->startup, &state);
        snprintf(text, sizeof text, "loading, %s", kl_startup_text(&state, stage, sizeof stage));
    } else if (g->has_text) {
        snprintf(text, sizeof text, "ping");
    } else if (g->prefill_total > 0) {
        if (g->return_progress && g->format->progress != NULL) {
            g->format->progress(g);
            return;
        }
        snprintf(text, sizeof text, "prefill %.0f %%",
                 100.0 * (double)g->prefill_done / (double)g->prefill_total);
    } else {
        int used = snprintf(text, sizeof text, "queue %u", g->position + 1);
        if (g->wait_seconds > 0)
            snprintf(text + used, sizeof text - (size_t)used, ", about %.0f s",
                     ceil((double)g->wait_seconds));
    }
    g->format->heartbeat(g, text);
}

void kl_generation_begin(struct kl_generation *g)
{
    g->exchange->status = 200;
    if (!g->begun && g->format->stream_type != NULL)
        kl_stream_begin(g->exchange, g->format->stream_type);
    g->begun = true;
}

/* Whether a request that waits for its model has to be told. Most models are open before that, and
 * the request still has its own status. */
static bool waits_for_long(const struct kl_generation *g, uint64_t now)
{
    return !g->begun && g->format != NULL && is_waiting(g) && !g->preparation->on_worker &&
           !kl_hosted_is_open(g->model) && now - g->exchange->start_ns >= MODEL_IS_NEAR_NS;
}

/* ---- documents ------------------------------------------------------------------------------- */

enum kl_status kl_document_text(struct kl_generation *g, size_t choice, const char *text,
                                size_t len)
{
    return kl_buffer_append(&g->choices[choice].text, text, len);
}

static void release_calls(struct kl_answer_choice *c)
{
    for (size_t i = 0; c->calls != NULL && i < c->n_calls; i++) {
        kl_buffer_release(&c->calls[i].name);
        kl_buffer_release(&c->calls[i].arguments);
    }
    free(c->calls);
    c->calls = NULL;
}

/* Adds a call that has begun. */
static enum kl_status add_call(struct kl_answer_choice *c)
{
    struct kl_answer_call *calls = realloc(c->calls, (c->n_calls + 1) * sizeof *calls);
    if (calls == NULL)
        return KL_ERR_MEMORY;
    c->calls = calls;
    kl_buffer_init(&calls[c->n_calls].name, c->text.cap);
    kl_buffer_init(&calls[c->n_calls].arguments, c->text.cap);
    c->n_calls++;
    return KL_OK;
}

enum kl_status kl_document_call(struct kl_generation *g, size_t choice,
                                const struct kl_call_piece *piece)
{
    struct kl_answer_choice *c = &g->choices[choice];
    struct kl_answer_call *call = &c->calls[piece->index];
    if (piece->part == KL_CALL_END)
        return KL_OK;
    return kl_buffer_append(piece->part == KL_CALL_BEGIN ? &call->name : &call->arguments,
                            piece->text, piece->len);
}

void kl_call_id(const struct kl_generation *g, size_t choice, size_t index,
                char id[KL_CALL_ID_SIZE])
{
    snprintf(id, KL_CALL_ID_SIZE, "call_%s_%zu_%zu", g->exchange->id, choice, index);
}

void kl_document_error(struct kl_generation *g, const struct kl_api_error *error)
{
    kl_reply_error(g->exchange, error);
}

/* ---- the end --------------------------------------------------------------------------------- */

void kl_generation_free(struct kl_generation *g)
{
    struct kl_service *s = g->service;
    /* the last first: none that waits gets the place of another that ends */
    for (size_t i = g->n_choices; i-- > 0;)
        kl_request_release(g->choices[i].request);
    for (size_t i = 0; i < g->n_choices; i++) {
        kl_buffer_release(&g->choices[i].text);
        kl_buffer_release(&g->choices[i].tokens);
        kl_buffer_release(&g->choices[i].logprobs);
        release_calls(&g->choices[i]);
        free(g->choices[i].call_reader);
    }
    kl_embedding_work_free(g);
    free(g->choices);
    free(g->call_names);
    kl_answer_record_release(g->record);
    free(g->kept);
    if (g->release_state != NULL)
        g->release_state(g->state);
    else
        free(g->state);
    if (g->preparation != NULL)
        kl_preparation_abandon(g->preparation, g->exchange);
    if (g->previous != NULL)
        g->previous->next = g->next;
    else if (s->generations == g)
        s->generations = g->next;
    if (g->next != NULL)
        g->next->previous = g->previous;
    if (g->live != NULL)
        kl_live_leave(g->live);
    kl_host_leave(g->model);
    free(g);
}

static void count(const struct kl_generation *g, enum kl_counter counter)
{
    g->service->metrics.counts[counter]++;
}

static void measure(const struct kl_generation *g, enum kl_duration duration, double seconds)
{
    kl_histogram_add(&g->service->metrics.durations[duration], seconds);
}

void kl_generation_fail(struct kl_generation *g, const struct kl_api_error *error,
                        enum kl_counter counter)
{
    count(g, counter);
    if (g->live != NULL)
        kl_live_begin_error(g->live);
    if (g->begun)
        g->format->error(g, error);
    else
        kl_reply_error(g->exchange, error);
    kl_generation_log(g, error->text);
    kl_generation_free(g);
}

/* Fails a generation whose deadline passed before any text. A retry would be too late for the
 * client, so a header asks its library not to (the OpenAI SDKs obey it; they retry any other 5xx).
 */
static void fail_late(struct kl_generation *g)
{
    struct kl_api_error error;
    kl_api_fail(&error, 504, "deadline_exceeded", NULL,
                "the answer could not begin within its deadline of %.3g s (X-Deadline-Ms, or the "
                "limit of this server)",
                (double)(g->deadline_ns - g->exchange->start_ns) * 1e-9);
    kl_reply_header(g->exchange, "x-should-retry", "false");
    kl_generation_fail(g, &error, KL_COUNT_DEADLINE);
}

static bool ended_late(const struct kl_generation *g)
{
    for (size_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].finish == KL_FINISH_DEADLINE)
            return true;
    }
    return false;
}

const char *kl_ended_by(enum kl_finish finish)
{
    bool by_server = finish == KL_FINISH_DEADLINE || finish == KL_FINISH_REPETITION;
    return by_server ? kl_finish_name(finish) : NULL;
}

static void end_choice(struct kl_generation *g, size_t choice)
{
    if (g->format->choice_done != NULL)
        g->format->choice_done(g, choice);
}

/* Ends a generation whose live answer cannot be kept. Returns whether it did. */
static bool fail_if_unkept(struct kl_generation *g)
{
    struct kl_api_error error;
    if (g->live == NULL || kl_live_check(g->live, &error) == KL_OK)
        return false;
    kl_generation_fail(g, &error, KL_COUNT_FAILED);
    return true;
}

static void finish(struct kl_generation *g)
{
    struct kl_exchange *x = g->exchange;
    bool late = ended_late(g);
    if (late && !g->has_text) {
        fail_late(g);
        return;
    }
    for (size_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].is_silent)
            end_choice(g, i);
    }
    g->format->end(g);
    if (fail_if_unkept(g))
        return;
    bool failed = x->status != 200; /* no memory for its text */
    count(g, failed ? KL_COUNT_FAILED : late ? KL_COUNT_DEADLINE : KL_COUNT_ANSWERED);
    if (!late && !failed)
        measure(g, KL_DURATION_REQUEST, kl_seconds_since(x->start_ns));
    kl_generation_log(g, kl_finish_name(g->choices[0].finish));
    kl_generation_free(g);
}

void kl_choice_end(struct kl_answer_choice *c)
{
    c->ended = true;
    if (c->request != NULL)
        kl_request_cancel(c->request);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Whether text is expected within TEXT_IS_NEAR_NS, at the speed of the prompt so far. Clients that
 * split a stream at blank lines take a comment and the event behind it for one, and lose the text.
 */
static bool text_is_near(const struct kl_generation *g)
{
    double done = (double)(g->prefill_done - g->prefill_cached);
    double left = (double)(g->prefill_total - g->prefill_done);
    double elapsed = (double)(kl_now_ns() - g->prefill_ns);
    return g->prefill_total > 0 && left * elapsed < TEXT_IS_NEAR_NS * done;
}

/* Reports the progress of a prompt: each step, if the client asked for it, and before the first one
 * the part that was cached; otherwise as a comment. */
static void report_progress(struct kl_generation *g, const struct kl_event *event)
{
    bool is_first = event->type == KL_EVENT_PREFILL && g->prefill_total == 0;
    bool wants_it = g->return_progress && g->format->progress != NULL;
    if (event->type == KL_EVENT_PREFILL) {
        g->prefill_total = event->total;
        g->prefill_cached = g->prefill_done = event->cached_tokens;
        if (is_first && wants_it && !g->has_text && g->n_choices == 1)
            kl_generation_send_progress(g);
        g->prefill_done = event->done;
    }
    if (!g->has_text && g->n_choices == 1 && (wants_it || !text_is_near(g)))
        kl_generation_send_progress(g);
}

static void on_waiting(struct kl_generation *g, size_t i, const struct kl_event *event)
{
    struct kl_answer_choice *c = &g->choices[i];
    if (event->type == KL_EVENT_QUEUED) {
        g->position = event->position;
        g->wait_seconds = event->wait_seconds;
        g->prefill_ns = kl_now_ns();
    } else {
        c->cached_tokens = event->cached_tokens;
        if (c->prefill_ns == 0)
            c->prefill_ns = kl_now_ns();
    }
    report_progress(g, event);
}

/* The bytes of a token in the buffer: without the room of log-probabilities that it has not. */
static size_t token_size(uint32_t n)
{
    return offsetof(struct kl_choice_token, logprobs) + n * sizeof(struct kl_logprob);
}

bool kl_choice_take_token(struct kl_answer_choice *c, struct kl_choice_token *token)
{
    if (c->tokens.len == 0)
        return false;
    memcpy(token, c->tokens.data, token_size(0));
    if (token->text_at >= c->n_text)
        return false;
    memcpy(token, c->tokens.data, token_size(token->n));
    kl_buffer_consume(&c->tokens, token_size(token->n));
    return true;
}

/* Keeps a token until its text comes. Returns false, with *error set, if the generation cannot
 * continue. */
static bool on_token(struct kl_generation *g, size_t i, const struct kl_event *event,
                     struct kl_api_error *error)
{
    struct kl_choice_token token = {.text_at = event->text_at, .n = event->n_logprobs};
    memcpy(token.logprobs, event->logprobs, token.n * sizeof *token.logprobs);
    if (kl_buffer_append(&g->choices[i].tokens, &token, token_size(token.n)) == KL_OK)
        return true;
    kl_api_fail_memory(error, "the answer");
    return false;
}

/* A choice whose text is read for calls. */
struct read_choice {
    struct kl_generation *g;
    size_t choice;
};

static enum kl_status on_content(void *context, const char *text, size_t len)
{
    const struct read_choice *c = context;
    return c->g->format->text(c->g, c->choice, text, len);
}

static enum kl_status on_call(void *context, const struct kl_call_piece *piece)
{
    const struct read_choice *c = context;
    enum kl_status status =
        piece->part == KL_CALL_BEGIN ? add_call(&c->g->choices[c->choice]) : KL_OK;
    return status == KL_OK ? c->g->format->call(c->g, c->choice, piece) : status;
}

/* Writes a piece of the text of a choice, or of the calls in it; NULL: the text is complete. */
static enum kl_status write_text(struct kl_generation *g, size_t i, const char *text, size_t len)
{
    struct kl_call_reader *reader = g->choices[i].call_reader;
    struct read_choice context = {g, i};
    const struct kl_call_sink sink = {on_content, on_call, &context};
    if (reader == NULL)
        return len > 0 ? g->format->text(g, i, text, len) : KL_OK;
    return text != NULL ? kl_call_reader_feed(reader, text, len, &sink)
                        : kl_call_reader_end(reader, &sink);
}

/* Returns false, with *error set, if the generation cannot continue. */
static bool on_text(struct kl_generation *g, size_t i, const struct kl_event *event,
                    struct kl_api_error *error)
{
    struct kl_answer_choice *c = &g->choices[i];
    uint64_t now = kl_now_ns();
    if (!g->has_text)
        measure(g, KL_DURATION_FIRST_TOKEN, (double)(now - g->exchange->start_ns) * 1e-9);
    if (c->text_ns != 0)
        measure(g, KL_DURATION_TOKEN, (double)(now - c->text_ns) * 1e-9);
    c->text_ns = now;
    if (c->first_text_ns == 0)
        c->first_text_ns = now;
    g->has_text = true;
    c->answer_tokens = event->n_tokens;
    c->n_text += event->text_len;
    if (write_text(g, i, event->text, event->text_len) == KL_OK)
        return true;
    kl_api_fail_memory(error, "the answer");
    return false;
}

static bool on_done(struct kl_generation *g, size_t i, const struct kl_event *event,
                    struct kl_api_error *error)
{
    struct kl_answer_choice *c = &g->choices[i];
    kl_request_release(c->request);
    c->request = NULL;
    c->finish = event->finish;
    c->prompt_tokens = event->prompt_tokens;
    c->cached_tokens = event->cached_tokens;
    c->answer_tokens = event->answer_tokens;
    c->stopped_by = event->stopped_by;
    c->drafted_tokens = event->drafted_tokens;
    c->accepted_tokens = event->accepted_tokens;
    c->queue_seconds = event->queue_seconds;
    c->prefill_seconds = event->prefill_seconds;
    c->decode_seconds = event->decode_seconds;
    g->n_open--;
    if (event->finish != KL_FINISH_CANCELLED && event->finish != KL_FINISH_ERROR)
        measure(g, KL_DURATION_QUEUE, event->queue_seconds);
    if (event->finish == KL_FINISH_ERROR) {
        struct kl_error err;
        kl_fail(&err, event->status, "%s", event->text);
        if (event->status == KL_ERR_LIMIT) /* following its rule takes too much */
            kl_api_fail(error, 400, "rule_too_large", NULL, "%s", event->text);
        else if (event->status == KL_ERR_INVALID) /* its rule leads nowhere */
            kl_api_fail(error, 400, "rule_stuck", NULL, "%s", event->text);
        else
            kl_api_fail_internal(error, &err);
        return false;
    }
    if (event->finish == KL_FINISH_CANCELLED && c->ended) {
        c->finish = KL_FINISH_LENGTH;
    } else if (event->finish == KL_FINISH_CANCELLED) {
        kl_api_fail(error, 503, "cancelled", NULL, "the answer was ended by the server");
        return false;
    }
    if (write_text(g, i, NULL, 0) != KL_OK) {
        kl_api_fail_memory(error, "the answer");
        return false;
    }
    /* no text before the deadline: an error in the end, unless another choice has text */
    c->is_silent = event->finish == KL_FINISH_DEADLINE && !g->has_text;
    if (!c->is_silent)
        end_choice(g, i);
    return true;
}

/* Whether the client reads more slowly than text is generated. Further events then stay in the
 * engine, which pauses the request. */
static bool is_held_back(const struct kl_generation *g)
{
    return kl_stream_is_full(g->exchange);
}

/* Processes the events of one generation; it may be freed by that. */
static void poll_generation(struct kl_generation *g)
{
    struct kl_event event;
    struct kl_api_error error;
    if (g->embedding != NULL && kl_embedding_work_poll(g, &error) != KL_OK) {
        kl_generation_fail(g, &error, error.status == 503 ? KL_COUNT_STOPPED : KL_COUNT_FAILED);
        return;
    }
    for (size_t i = 0; i < g->n_choices; i++) {
        struct kl_answer_choice *c = &g->choices[i];
        while (c->request != NULL && !is_held_back(g) && kl_request_poll(c->request, &event)) {
            bool ok = true;
            if (event.type == KL_EVENT_TOKEN)
                ok = on_token(g, i, &event, &error);
            else if (event.type == KL_EVENT_TEXT)
                ok = on_text(g, i, &event, &error);
            else if (event.type == KL_EVENT_DONE)
                ok = on_done(g, i, &event, &error);
            else
                on_waiting(g, i, &event);
            if (!ok) {
                kl_generation_fail(g, &error,
                                   error.status == 503 ? KL_COUNT_STOPPED : KL_COUNT_FAILED);
                return;
            }
            if (fail_if_unkept(g))
                return;
        }
    }
    if (!is_waiting(g) && g->n_open == 0)
        finish(g);
}

void kl_generations_submit(struct kl_service *s)
{
    struct kl_api_error error;
    struct kl_generation *failed;
    while ((failed = kl_embeddings_submit(s, &error)) != NULL)
        kl_generation_fail(failed, &error, KL_COUNT_FAILED);
}

/* ---- the client ------------------------------------------------------------------------------ */

static void on_gone(void *context, const char *cause)
{
    struct kl_generation *g = context;
    count(g, cause == kl_cause_slow_reader ? KL_COUNT_SLOW : KL_COUNT_LEFT);
    kl_generation_log(g, cause);
    kl_generation_free(g);
}

static void on_drained(void *context)
{
    struct kl_generation *g = context;
    struct kl_service *s = g->service;
    poll_generation(g);
    kl_generations_submit(s);
}

void kl_generation_add(struct kl_generation *g)
{
    static const struct kl_exchange_events events = {on_gone, on_drained};
    struct kl_service *s = g->service;
    g->next = s->generations;
    if (g->next != NULL)
        g->next->previous = g;
    s->generations = g;
    if (g->live == NULL)
        kl_exchange_watch(g->exchange, &events, g);
    kl_service_start_tick(s);
}

/* ---- all generations ------------------------------------------------------------------------- */

void kl_generations_poll(struct kl_service *s)
{
    for (struct kl_generation *g = s->generations, *next; g != NULL; g = next) {
        next = g->next;
        poll_generation(g);
    }
    kl_generations_submit(s);
}

bool kl_generations_want_work(struct kl_service *s)
{
    for (const struct kl_generation *g = s->generations; g != NULL; g = g->next) {
        if (!is_waiting(g) && !is_held_back(g))
            return true;
    }
    return false;
}

void kl_generations_tick(struct kl_service *s)
{
    uint64_t now = kl_now_ns();
    for (struct kl_generation *g = s->generations, *next; g != NULL; g = next) {
        next = g->next;
        bool is_held = is_waiting(g) || g->embedding != NULL; /* not by the engine */
        bool is_read = g->live == NULL || g->live->readers != NULL;
        if (is_held && g->deadline_ns != 0 && now > g->deadline_ns)
            fail_late(g);
        else if (waits_for_long(g, now)) {
            kl_generation_begin(g);
            kl_generation_send_progress(g);
        } else if (g->begun && is_read && now - g->exchange->last_write_ns >= SILENCE_NS &&
                   !is_held_back(g))
            kl_generation_send_progress(g);
    }
    kl_generations_submit(s);
}

void kl_generations_cut(struct kl_service *s, const struct kl_api_error *error,
                        enum kl_counter counter)
{
    while (s->generations != NULL)
        kl_generation_fail(s->generations, error, counter);
}

void kl_generations_forget(struct kl_service *s)
{
    while (s->generations != NULL)
        kl_generation_free(s->generations);
}
