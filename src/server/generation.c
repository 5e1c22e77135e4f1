#include "server/generation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/models.h"
#include "server/routes.h"
#include "server/server_state.h"

/* An answer in one piece: the longest context there is, at the longest tokens there are, is 32 MiB;
 * no real answer comes near. */
#define MAX_ANSWER_SIZE ((size_t)32 << 20)
/* The promise is a sign of life every second; the tick comes four times as often. */
#define SILENCE_NS 700000000u
/* openai-python does not retry when it is told to wait longer than this. */
#define MAX_RETRY_AFTER 120
#define UNKNOWN_WAIT    5 /* seconds, before anything was measured */

/* ---- waiting --------------------------------------------------------------------------------- */

/* How long until `ahead` requests have finished, seconds; 0 when nothing was measured yet. */
static double expected_wait(const struct kl_engine_stats *stats, size_t ahead)
{
    size_t parallel = stats->parallel > 0 ? stats->parallel : 1;
    return stats->latency_p50 * (double)ahead / (double)parallel;
}

static unsigned retry_after(const struct kl_engine_stats *stats)
{
    double seconds = ceil(expected_wait(stats, stats->queued + 1));
    if (seconds < 1)
        return UNKNOWN_WAIT;
    return seconds > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : (unsigned)seconds;
}

static bool is_waiting(const struct kl_generation *g)
{
    return g->n_choices == 0;
}

static void send_progress(struct kl_generation *g)
{
    char text[64];
    struct kl_engine_stats stats;
    if (is_waiting(g)) {
        struct kl_startup_state state;
        char stage[48];
        kl_startup_read(&g->exchange->server->startup, &state);
        snprintf(text, sizeof text, "loading, %s", kl_startup_text(&state, stage, sizeof stage));
    } else if (g->has_text) {
        snprintf(text, sizeof text, "generating");
    } else if (g->prefill_total > 0) {
        snprintf(text, sizeof text, "prefill %.0f%%",
                 100.0 * (double)g->prefill_done / (double)g->prefill_total);
    } else {
        kl_engine_stats(g->exchange->server->served.engine, &stats);
        double seconds = expected_wait(&stats, g->position + 1u);
        int used = snprintf(text, sizeof text, "queue %u", g->position + 1);
        if (seconds > 0)
            snprintf(text + used, sizeof text - (size_t)used, ", about %.0f s", ceil(seconds));
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
    kl_info("request %s: %s, status %d, %s; %u prompt tokens (%u cached), %u answer tokens; queue "
            "%.3f s, prefill %.3f s, decode %.3f s, all %.3f s",
            x->id, x->route->path, x->status, cause, g->choices[0].prompt_tokens,
            g->choices[0].cached_tokens, answer_tokens, queue, prefill, decode,
            kl_seconds_since(x->start_ns));
}

static void on_gone(void *context, const char *cause)
{
    struct kl_generation *g = context;
    log_end(g, cause);
    free_generation(g);
}

/* An answer can not be finished: said in the stream, if that is what runs. */
static void fail(struct kl_generation *g, const struct kl_api_error *error)
{
    struct kl_exchange *x = g->exchange;
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

static void finish(struct kl_generation *g)
{
    struct kl_exchange *x = g->exchange;
    g->format->end(g);
    if (g->stream)
        kl_stream_end(x);
    log_end(g, kl_finish_name(g->choices[0].finish));
    free_generation(g);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_waiting(struct kl_generation *g, const struct kl_event *event)
{
    if (event->type == KL_EVENT_QUEUED) {
        g->position = event->position;
    } else {
        g->prefill_done = event->done;
        g->prefill_total = event->total;
    }
    if (g->stream && !g->has_text && g->n_choices == 1)
        send_progress(g);
}

/* false: it can not go on, *error says why. */
static bool on_text(struct kl_generation *g, size_t i, const struct kl_event *event,
                    struct kl_api_error *error)
{
    struct kl_answer_choice *c = &g->choices[i];
    g->has_text = true;
    c->answer_tokens = event->n_tokens;
    if (event->text_len == 0)
        return true;
    if (g->stream) {
        g->format->text(g, i, event->text, event->text_len);
    } else if (kl_buffer_append(&c->text, event->text, event->text_len) != KL_OK) {
        kl_api_fail(error, 500, "internal_error", NULL, "no memory for the answer");
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
    if (event->finish == KL_FINISH_ERROR) {
        kl_api_fail(error, 500, "internal_error", NULL, "%.400s", event->text);
        return false;
    }
    if (event->finish == KL_FINISH_CANCELLED) {
        kl_api_fail(error, 503, "cancelled", NULL, "the answer was ended by the server");
        return false;
    }
    if (g->stream)
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
                fail(g, &error);
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
    for (struct kl_generation *g = server->generations; g != NULL; g = g->next) {
        if (g->stream && now - g->exchange->last_write_ns >= SILENCE_NS && !is_held_back(g))
            send_progress(g);
    }
}

void kl_generations_cut(struct kl_server *server, const struct kl_api_error *error)
{
    while (server->generations != NULL)
        fail(server->generations, error);
}

void kl_generations_forget(struct kl_server *server)
{
    while (server->generations != NULL)
        free_generation(server->generations);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static enum kl_status refuse(struct kl_server *server, const struct kl_error *err, size_t n_tokens,
                             struct kl_api_error *error)
{
    struct kl_engine_stats stats;
    kl_engine_stats(server->served.engine, &stats);
    switch (err->status) {
    case KL_ERR_BUSY:
        kl_api_fail(error, 429, "queue_full", NULL,
                    "%zu requests run and %zu wait, which is all this server takes; try again "
                    "later",
                    stats.running, stats.queued);
        error->retry_after = retry_after(&stats);
        break;
    case KL_ERR_LIMIT:
        kl_api_fail(error, 400, "context_length_exceeded", "messages", "%s", err->text);
        error->n_prompt_tokens = n_tokens;
        error->n_ctx = stats.ctx_size;
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

void kl_generation_request_release(struct kl_generation_request *r)
{
    kl_chat_input_release(&r->input);
    json_decref(r->json);
    *r = (struct kl_generation_request){0};
}

static enum kl_status submit(struct kl_generation *g, const struct kl_generation_request *r,
                             struct kl_api_error *error)
{
    struct kl_server *server = g->exchange->server;
    struct kl_tokens tokens = {0};
    if (kl_model_check(server, r->model, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status = kl_chat_input_encode(&r->input, server->served.chat_template,
                                                 server->served.tokenizer, &tokens, error);
    for (size_t i = 0; i < r->n_choices && status == KL_OK; i++) {
        struct kl_answer_choice *c = &g->choices[i];
        struct kl_error err;
        struct kl_request_options options = {
            .tokens = tokens.ids,
            .n_tokens = tokens.len,
            .max_tokens = r->max_tokens,
            .sampling = r->sampling,
            .stops = r->stops,
            .n_stops = r->n_stops,
        };
        options.sampling.seed += i;
        kl_buffer_init(&c->text, MAX_ANSWER_SIZE);
        c->prompt_tokens = (uint32_t)tokens.len;
        g->n_choices = i + 1;
        if (kl_engine_submit(server->served.engine, &options, &c->request, &err) != KL_OK) {
            c->request = NULL;
            status = refuse(server, &err, tokens.len, error);
        }
    }
    g->n_open = g->n_choices;
    kl_tokens_release(&tokens);
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
        error->retry_after = UNKNOWN_WAIT;
        return KL_ERR_BUSY;
    }
    g->waiting = *r;
    *r = (struct kl_generation_request){0};
    return KL_OK;
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
        kl_api_fail(&error, 500, "internal_error", NULL, "no memory for the request");
        goto fail;
    }
    g->exchange = x;
    g->format = format;
    g->stream = request->stream;
    g->include_usage = request->include_usage;
    g->created = (int64_t)time(NULL);
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
    if (g != NULL)
        free_generation(g);
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
            fail(g, &error);
        else if (g->stream)
            g->format->begin(g);
    }
}
