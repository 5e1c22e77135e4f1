#include "server/generation.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/admission.h"
#include "server/context_policy.h"
#include "server/models.h"
#include "server/routes.h"
#include "server/sampling_fields.h"
#include "server/server_state.h"

/* An answer in one piece: the longest context there is, at the longest tokens there are, is 32 MiB;
 * no real answer comes near. */
#define MAX_ANSWER_SIZE ((size_t)32 << 20)
/* The promise is a sign of life every second. */
#define SILENCE_NS 700000000u
static_assert(SILENCE_NS + KL_TICK_US * 1000 < 1000000000, "the tick after so long is in time");
/* Retry-After while the model is being loaded, seconds: nothing is known of how long that takes. */
#define LOADING_WAIT 5

/* ---- waiting --------------------------------------------------------------------------------- */

static bool is_waiting(const struct kl_generation *g)
{
    return g->n_choices == 0;
}

json_t *kl_generation_progress(const struct kl_generation *g)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t)g->prefill_total, "cache",
                     (json_int_t)g->prefill_cached, "processed", (json_int_t)g->prefill_done,
                     "time_ms", (json_int_t)(kl_seconds_since(g->prefill_ns) * 1000));
}

static void send_progress(struct kl_generation *g)
{
    char text[64];
    if (is_waiting(g)) {
        struct kl_startup_state state;
        char stage[48];
        kl_startup_read(&g->exchange->server->startup, &state);
        snprintf(text, sizeof text, "loading, %s", kl_startup_text(&state, stage, sizeof stage));
    } else if (g->has_text) {
        snprintf(text, sizeof text, "ping");
    } else if (g->prefill_total > 0) {
        if (g->return_progress) {
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
    kl_stream_comment(g->exchange, text);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void free_generation(struct kl_generation *g)
{
    struct kl_server *server = g->exchange->server;
    for (size_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].request != NULL)
            kl_request_release(g->choices[i].request);
        kl_buffer_release(&g->choices[i].text);
    }
    kl_generation_request_release(&g->waiting);
    if (g->previous != NULL)
        g->previous->next = g->next;
    else if (server->generations == g)
        server->generations = g->next;
    if (g->next != NULL)
        g->next->previous = g->previous;
    free(g);
}

static void log_end(const struct kl_generation *g, const char *cause)
{
    const struct kl_exchange *x = g->exchange;
    uint32_t answer_tokens = 0;
    double queue = 0, prefill = 0, decode = 0;
    for (size_t i = 0; i < g->n_choices; i++) {
        const struct kl_answer_choice *c = &g->choices[i];
        answer_tokens += c->answer_tokens;
        queue = fmax(queue, c->queue_seconds);
        prefill = fmax(prefill, c->prefill_seconds);
        decode = fmax(decode, c->decode_seconds);
    }
    double seconds = kl_seconds_since(x->start_ns);
    const struct kl_log_field fields[] = {
        {"request_id", x->id, 0},
        {"route", x->route->path, 0},
        {"status", NULL, x->status},
        {"end", cause, 0},
        {"prompt_tokens", NULL, g->choices[0].prompt_tokens},
        {"cached_tokens", NULL, g->choices[0].cached_tokens},
        {"answer_tokens", NULL, answer_tokens},
        {"queue_seconds", NULL, queue},
        {"prefill_seconds", NULL, prefill},
        {"decode_seconds", NULL, decode},
        {"seconds", NULL, seconds},
    };
    kl_log_with(KL_LOG_INFO, fields, sizeof fields / sizeof fields[0],
                "request %s: %s, status %d, %s; %u prompt tokens (%u cached), %u answer tokens; "
                "queue %.3f s, prefill %.3f s, decode %.3f s, all %.3f s",
                x->id, x->route->path, x->status, cause, g->choices[0].prompt_tokens,
                g->choices[0].cached_tokens, answer_tokens, queue, prefill, decode, seconds);
}

static void count(const struct kl_generation *g, enum kl_counter counter)
{
    g->exchange->server->metrics.counts[counter]++;
}

static void measure(const struct kl_generation *g, enum kl_duration duration, double seconds)
{
    kl_histogram_add(&g->exchange->server->metrics.durations[duration], seconds);
}

static void on_gone(void *context, const char *cause)
{
    struct kl_generation *g = context;
    count(g, cause == kl_cause_slow_reader ? KL_COUNT_SLOW : KL_COUNT_LEFT);
    log_end(g, cause);
    free_generation(g);
}

/* An answer can not be finished: said in the stream, if that is what runs. */
static void fail(struct kl_generation *g, const struct kl_api_error *error, enum kl_counter counter)
{
    struct kl_exchange *x = g->exchange;
    count(g, counter);
    if (g->stream) {
        kl_stream_json(x, kl_api_error_json(error));
        kl_stream_data(x, "[DONE]");
        kl_stream_end(x);
    } else {
        kl_reply_error(x, error);
    }
    log_end(g, error->text);
    free_generation(g);
}

/* Nothing was said before time was up. The client's own limit is over, so its library is told not
 * to come again (the OpenAI SDKs obey that header; they repeat any 5xx otherwise). */
static void fail_late(struct kl_generation *g)
{
    struct kl_api_error error;
    kl_api_fail(&error, 504, "deadline_exceeded", NULL,
                "the answer could not begin in the %.3g s there were (X-Deadline-Ms, or the limit "
                "of this server)",
                (double)(g->deadline_ns - g->exchange->start_ns) * 1e-9);
    if (!g->stream)
        kl_reply_header(g->exchange, "x-should-retry", "false");
    fail(g, &error, KL_COUNT_DEADLINE);
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
    bool told = finish == KL_FINISH_DEADLINE || finish == KL_FINISH_REPETITION;
    return told ? kl_finish_name(finish) : NULL;
}

json_t *kl_generation_notes(const struct kl_generation *g, enum kl_finish finish)
{
    const char *ended_by = kl_ended_by(finish);
    if (g->n_left_out == 0 && ended_by == NULL)
        return NULL;
    json_t *notes = json_object();
    if (g->n_left_out > 0)
        json_object_set_new(notes, "messages_left_out", json_integer((json_int_t)g->n_left_out));
    if (ended_by != NULL)
        json_object_set_new(notes, "ended_by", json_string(ended_by));
    return notes;
}

static void finish(struct kl_generation *g)
{
    struct kl_exchange *x = g->exchange;
    bool late = ended_late(g);
    if (late && !g->has_text) {
        fail_late(g);
        return;
    }
    for (size_t i = 0; i < g->n_choices && g->stream; i++) {
        if (g->choices[i].is_silent)
            g->format->choice_done(g, i);
    }
    g->format->end(g);
    if (g->stream)
        kl_stream_end(x);
    bool failed = x->status != 200; /* no memory for its text */
    count(g, failed ? KL_COUNT_FAILED : late ? KL_COUNT_DEADLINE : KL_COUNT_ANSWERED);
    if (!late && !failed)
        measure(g, KL_DURATION_REQUEST, kl_seconds_since(x->start_ns));
    log_end(g, kl_finish_name(g->choices[0].finish));
    free_generation(g);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_waiting(struct kl_generation *g, const struct kl_event *event)
{
    if (event->type == KL_EVENT_QUEUED) {
        g->position = event->position;
        g->wait_seconds = event->wait_seconds;
        g->prefill_ns = kl_now_ns();
    } else {
        g->prefill_done = event->done;
        g->prefill_total = event->total;
        g->prefill_cached = event->cached_tokens;
    }
    if (g->stream && !g->has_text && g->n_choices == 1)
        send_progress(g);
}

/* false: it can not go on, *error says why. */
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
    g->has_text = true;
    c->answer_tokens = event->n_tokens;
    if (event->text_len == 0)
        return true;
    if (g->stream) {
        g->format->text(g, i, event->text, event->text_len);
    } else if (kl_buffer_append(&c->text, event->text, event->text_len) != KL_OK) {
        kl_api_fail_memory(error, "the answer");
        return false;
    }
    return true;
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
    c->queue_seconds = event->queue_seconds;
    c->prefill_seconds = event->prefill_seconds;
    c->decode_seconds = event->decode_seconds;
    g->n_open--;
    if (event->finish != KL_FINISH_CANCELLED && event->finish != KL_FINISH_ERROR)
        measure(g, KL_DURATION_QUEUE, event->queue_seconds);
    if (event->finish == KL_FINISH_ERROR) {
        struct kl_error err;
        kl_fail(&err, event->status, "%s", event->text);
        kl_api_fail_internal(error, &err);
        return false;
    }
    if (event->finish == KL_FINISH_CANCELLED) {
        kl_api_fail(error, 503, "cancelled", NULL, "the answer was ended by the server");
        return false;
    }
    /* without a word until the deadline: an error, if it stays so for all */
    c->is_silent = event->finish == KL_FINISH_DEADLINE && !g->has_text;
    if (g->stream && !c->is_silent)
        g->format->choice_done(g, i);
    return true;
}

/* The client takes less than is made for it: what follows stays with the engine, whose request
 * pauses. */
static bool is_held_back(const struct kl_generation *g)
{
    return g->stream && kl_stream_is_full(g->exchange);
}

/* Moves one generation on; it may be gone afterwards. */
static void poll_generation(struct kl_generation *g)
{
    struct kl_event event;
    struct kl_api_error error;
    for (size_t i = 0; i < g->n_choices; i++) {
        struct kl_answer_choice *c = &g->choices[i];
        while (c->request != NULL && !is_held_back(g) && kl_request_poll(c->request, &event)) {
            bool ok = true;
            if (event.type == KL_EVENT_TEXT)
                ok = on_text(g, i, &event, &error);
            else if (event.type == KL_EVENT_DONE)
                ok = on_done(g, i, &event, &error);
            else
                on_waiting(g, &event);
            if (!ok) {
                fail(g, &error, error.status == 503 ? KL_COUNT_STOPPED : KL_COUNT_FAILED);
                return;
            }
        }
    }
    if (g->n_open == 0)
        finish(g);
}

void kl_generations_poll(struct kl_server *server)
{
    for (struct kl_generation *g = server->generations, *next; g != NULL; g = next) {
        next = g->next;
        poll_generation(g);
    }
}

bool kl_generations_want_work(struct kl_server *server)
{
    for (const struct kl_generation *g = server->generations; g != NULL; g = g->next) {
        if (!is_held_back(g))
            return true;
    }
    return false;
}

void kl_generations_tick(struct kl_server *server)
{
    uint64_t now = kl_now_ns();
    for (struct kl_generation *g = server->generations, *next; g != NULL; g = next) {
        next = g->next;
        if (is_waiting(g) && g->deadline_ns != 0 && now > g->deadline_ns)
            fail_late(g);
        else if (g->stream && now - g->exchange->last_write_ns >= SILENCE_NS && !is_held_back(g))
            send_progress(g);
    }
}

void kl_generations_cut(struct kl_server *server, const struct kl_api_error *error)
{
    while (server->generations != NULL)
        fail(server->generations, error, server->stopping ? KL_COUNT_STOPPED : KL_COUNT_FAILED);
}

void kl_generations_forget(struct kl_server *server)
{
    while (server->generations != NULL)
        free_generation(server->generations);
}

/* ---- the beginning --------------------------------------------------------------------------- */

/* What the engine does not take. */
static enum kl_status refuse(const struct kl_error *err, const struct kl_tokens *tokens,
                             size_t ctx_size, struct kl_api_error *error)
{
    switch (err->status) {
    case KL_ERR_LIMIT:
        kl_api_fail(error, 400, "context_length_exceeded", "messages", "%s", err->text);
        error->n_prompt_tokens = tokens->len;
        error->n_ctx = ctx_size;
        break;
    case KL_ERR_INVALID:
        kl_api_fail(error, 400, "invalid_value", NULL, "%s", err->text);
        break;
    default:
        kl_api_fail_internal(error, err);
        break;
    }
    return KL_ERR_INVALID;
}

void kl_generation_request_init(struct kl_generation_request *r, const struct kl_server *server)
{
    *r = (struct kl_generation_request){.n_choices = 1,
                                        .context_policy = server->options.context_policy,
                                        .loop_guard = server->options.loop_guard};
    kl_sampling_defaults(&r->sampling);
}

void kl_generation_request_release(struct kl_generation_request *r)
{
    kl_chat_input_release(&r->input);
    json_decref(r->json);
    *r = (struct kl_generation_request){0};
}

/* Seconds that are left; 0: there is no deadline. One that is over leaves a moment, in which the
 * engine ends the request. */
static double deadline_left(const struct kl_generation *g)
{
    uint64_t now = kl_now_ns();
    if (g->deadline_ns == 0)
        return 0;
    return g->deadline_ns > now ? (double)(g->deadline_ns - now) * 1e-9 : 1e-9;
}

static enum kl_status admit(struct kl_generation *g, const struct kl_generation_request *r,
                            const struct kl_engine_stats *stats, struct kl_api_error *error)
{
    const struct kl_server_options *o = &g->exchange->server->options;
    const struct kl_application application = {.n_requests = r->n_choices,
                                               .priority = r->priority,
                                               .deadline_seconds = deadline_left(g),
                                               .max_wait_seconds = o->max_wait_seconds};
    double wait = stats->expected_wait[r->priority];
    unsigned retry_after;
    switch (kl_admission_decide(stats, &application, &retry_after)) {
    case KL_ADMITTED:
        return KL_OK;
    case KL_REFUSED_FULL:
        kl_api_fail(error, 429, "queue_full", NULL,
                    "%zu requests run and %zu wait, which leaves no room for %zu more; try again "
                    "in %u s",
                    stats->running, stats->queued, r->n_choices, retry_after);
        g->refusal = KL_COUNT_REFUSED_FULL;
        break;
    case KL_REFUSED_WAIT:
        kl_api_fail(error, 429, "wait_too_long", NULL,
                    "a request that comes now would wait for about %.0f s, and this server lets "
                    "none wait for more than %.0f s; try again in %u s",
                    wait, o->max_wait_seconds, retry_after);
        g->refusal = KL_COUNT_REFUSED_WAIT;
        break;
    default:
        kl_api_fail(error, 429, "deadline_unreachable", "X-Deadline-Ms",
                    "a request that comes now would wait for about %.1f s, beyond its deadline in "
                    "%.1f s; try again in %u s, or with a later deadline",
                    wait, application.deadline_seconds, retry_after);
        g->refusal = KL_COUNT_REFUSED_DEADLINE;
        break;
    }
    error->retry_after = retry_after;
    return KL_ERR_BUSY;
}

static enum kl_status encode(struct kl_generation *g, const struct kl_generation_request *r,
                             size_t max_tokens, size_t ctx_size, struct kl_tokens *tokens,
                             struct kl_api_error *error)
{
    const struct kl_served *served = &g->exchange->server->served;
    if (r->context_policy == KL_CONTEXT_ERROR)
        return kl_chat_input_encode(&r->input, served->chat_template, served->tokenizer, tokens,
                                    error);
    return kl_context_trim(&r->input, served->chat_template, served->tokenizer,
                           kl_context_room(ctx_size, max_tokens), tokens, &g->n_left_out, error);
}

/* Also as a header, for who does not look into the answer; too late for a stream that waited. */
static void count_left_out(struct kl_generation *g)
{
    char number[24];
    g->exchange->server->metrics.counts[KL_COUNT_TRIMMED] += g->n_left_out;
    snprintf(number, sizeof number, "%zu", g->n_left_out);
    if (g->exchange->status == 0 || !g->stream)
        kl_reply_header(g->exchange, "X-Messages-Left-Out", number);
}

static enum kl_status submit(struct kl_generation *g, const struct kl_generation_request *r,
                             struct kl_api_error *error)
{
    struct kl_server *server = g->exchange->server;
    size_t limit = server->options.max_tokens != 0 ? server->options.max_tokens : SIZE_MAX;
    size_t max_tokens = r->max_tokens < limit ? r->max_tokens : limit;
    struct kl_tokens tokens = {0};
    struct kl_engine_stats stats;
    kl_engine_stats(server->served.engine, &stats);
    if (kl_model_check(server, r->model, error) != KL_OK || admit(g, r, &stats, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status = encode(g, r, max_tokens, stats.ctx_size, &tokens, error);
    for (size_t i = 0; i < r->n_choices && status == KL_OK; i++) {
        struct kl_answer_choice *c = &g->choices[i];
        struct kl_error err;
        struct kl_request_options options = {
            .tokens = tokens.ids,
            .n_tokens = tokens.len,
            .max_tokens = max_tokens,
            .sampling = r->sampling,
            .stops = r->stops,
            .n_stops = r->n_stops,
            .loop_guard = r->loop_guard,
            .priority = r->priority,
            .cache_scope = g->exchange->cache_scope,
            .deadline_seconds = deadline_left(g),
        };
        options.sampling.seed += i;
        kl_buffer_init(&c->text, MAX_ANSWER_SIZE);
        c->prompt_tokens = (uint32_t)tokens.len;
        g->n_choices = i + 1;
        if (kl_engine_submit(server->served.engine, &options, &c->request, &err) != KL_OK) {
            c->request = NULL;
            status = refuse(&err, &tokens, stats.ctx_size, error);
        }
    }
    g->n_open = g->n_choices;
    g->prefill_ns = kl_now_ns();
    kl_tokens_release(&tokens);
    if (g->n_left_out > 0 && status == KL_OK)
        count_left_out(g);
    return status;
}

/* Takes the request over if there is still room to wait. */
static enum kl_status wait_for_model(struct kl_generation *g, struct kl_generation_request *r,
                                     struct kl_api_error *error)
{
    const struct kl_server *server = g->exchange->server;
    size_t n = 0;
    for (const struct kl_generation *other = server->generations; other != NULL;
         other = other->next)
        n++;
    if (n >= server->options.max_waiting) {
        kl_api_fail(error, 429, "queue_full", NULL,
                    "%zu requests wait for the model to be loaded, which is all this server takes; "
                    "try again later",
                    n);
        error->retry_after = LOADING_WAIT;
        g->refusal = KL_COUNT_REFUSED_FULL;
        return KL_ERR_BUSY;
    }
    g->waiting = *r;
    *r = (struct kl_generation_request){0};
    return KL_OK;
}

/* The earlier of what the client and the operator set; 0: none. */
static uint64_t deadline(const struct kl_exchange *x, const struct kl_generation_request *r)
{
    double seconds = r->deadline_seconds, limit = x->server->options.max_seconds;
    if (limit > 0 && (!(seconds > 0) || limit < seconds))
        seconds = limit;
    return seconds > 0 ? x->start_ns + (uint64_t)(seconds * 1e9) : 0;
}

void kl_generation_start(struct kl_exchange *x, const struct kl_answer_format *format,
                         struct kl_generation_request *request)
{
    struct kl_server *server = x->server;
    struct kl_api_error error;
    struct kl_generation *g = NULL;
    if (!kl_request_is_welcome(x)) {
        kl_api_fail(&error, 503, "stopping", NULL,
                    "the server is being stopped; if it is started again, it will take requests");
        error.retry_after = KL_SERVER_RETRY_SECONDS;
        goto fail;
    }
    g = calloc(1, sizeof *g);
    if (g == NULL) {
        kl_api_fail_memory(&error, "the request");
        goto fail;
    }
    g->exchange = x;
    g->format = format;
    g->stream = request->stream;
    g->include_usage = request->include_usage;
    g->return_progress = request->return_progress;
    g->service_tier = request->service_tier;
    g->deadline_ns = deadline(x, request);
    g->created = (int64_t)time(NULL);
    g->refusal = KL_COUNT_FAILED;
    bool waits = kl_server_is_loading(server);
    if ((waits ? wait_for_model(g, request, &error) : submit(g, request, &error)) != KL_OK)
        goto fail;

    g->next = server->generations;
    if (g->next != NULL)
        g->next->previous = g;
    server->generations = g;
    x->status = 200;
    kl_exchange_watch(x, on_gone, g);
    kl_server_start_tick(server);
    if (g->stream) {
        kl_stream_begin(x);
        if (waits)
            send_progress(g);
        else
            format->begin(g);
    }
    kl_generation_request_release(request);
    return;

fail:
    if (g != NULL) {
        if (g->refusal != KL_COUNT_FAILED)
            count(g, g->refusal);
        free_generation(g);
    }
    kl_generation_request_release(request);
    kl_reply_error(x, &error);
}

void kl_generations_begin(struct kl_server *server)
{
    struct kl_generation *g = server->generations, *newer;
    while (g != NULL && g->next != NULL)
        g = g->next;
    for (; g != NULL; g = newer) {
        struct kl_api_error error;
        newer = g->previous;
        enum kl_status status = submit(g, &g->waiting, &error);
        kl_generation_request_release(&g->waiting);
        if (status != KL_OK)
            fail(g, &error, g->refusal);
        else if (g->stream)
            g->format->begin(g);
    }
}
