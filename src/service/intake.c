#include "service/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "http/exchange.h"
#include "service/admission.h"
#include "service/embedding_work.h"
#include "service/preparation.h"
#include "service/service.h"

/* The most bytes of an answer that is sent as a document: the longest context of the longest tokens
 * is 32 MiB; no real answer comes near. */
#define MAX_ANSWER_SIZE ((size_t)32 << 20)
/* The most bytes of tokens that wait for their text, which is withheld for a stop string: those of
 * KL_MAX_STOP_SIZE bytes, each a token. */
#define MAX_TOKENS_SIZE ((size_t)256 << 10)
/* and of the log-probabilities of a choice, as JSON, in an answer that is not streamed; those of
 * ordinary tokens take less than half of it. */
#define MAX_LOGPROBS_SIZE ((size_t)16 << 20)
/* Retry-After while the model is being loaded, in seconds; how long that takes is not known. */
#define LOADING_WAIT 5

/* Sets *error for a request that the engine refused. */
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

/* Returns the seconds until the deadline; 0: none. A deadline that has passed leaves a tiny
 * positive rest, so that the engine ends the request. */
static double deadline_left(const struct kl_generation *g)
{
    uint64_t now = kl_now_ns();
    if (g->deadline_ns == 0)
        return 0;
    return g->deadline_ns > now ? (double)(g->deadline_ns - now) * 1e-9 : 1e-9;
}

/* Decides whether a request may queue, as n_requests of the engine. stats: `queued` includes all
 * requests ahead of it. */
static enum kl_status admit(struct kl_generation *g, const struct kl_generation_request *r,
                            size_t n_requests, const struct kl_engine_stats *stats,
                            struct kl_api_error *error)
{
    const struct kl_service_options *o = &g->service->options;
    const struct kl_admission_request request = {.n_requests = n_requests,
                                                 .priority = r->priority,
                                                 .deadline_seconds = deadline_left(g),
                                                 .max_wait_seconds = o->max_wait_seconds};
    double wait = stats->expected_wait[r->priority];
    unsigned retry_after;
    if (n_requests > stats->parallel + stats->queue_size)
        return kl_api_fail(error, 400, "too_many_answers", NULL,
                           "the request is for %zu answers, and this server has room for %zu (%zu "
                           "at a time, %zu waiting): send fewer prompts, or a smaller n",
                           n_requests, stats->parallel + stats->queue_size, stats->parallel,
                           stats->queue_size);
    switch (kl_admission_decide(stats, &request, &retry_after)) {
    case KL_ADMITTED:
        return KL_OK;
    case KL_REFUSED_FULL:
        kl_api_fail(error, 429, "queue_full", NULL,
                    "%zu requests run and %zu wait, which leaves no room for %zu more; try again "
                    "in %u s",
                    stats->running, stats->queued, n_requests, retry_after);
        g->refusal = KL_COUNT_REFUSED_FULL;
        break;
    case KL_REFUSED_WAIT:
        kl_api_fail(error, 429, "wait_too_long", NULL,
                    "a request sent now would wait for about %.0f s, and this server lets none "
                    "wait for more than %.0f s; try again in %u s",
                    wait, o->max_wait_seconds, retry_after);
        g->refusal = KL_COUNT_REFUSED_WAIT;
        break;
    default:
        kl_api_fail(error, 429, "deadline_unreachable", "X-Deadline-Ms",
                    "a request sent now would wait for about %.1f s, beyond its deadline in %.1f "
                    "s; try again in %u s, or with a later deadline",
                    wait, request.deadline_seconds, retry_after);
        g->refusal = KL_COUNT_REFUSED_DEADLINE;
        break;
    }
    error->retry_after = retry_after;
    return KL_ERR_BUSY;
}

/* Counts the messages left out, and reports them in a header, too, for clients that ignore that
 * field of the answer. The header comes too late for a stream that waited for the model. */
static void count_left_out(struct kl_generation *g)
{
    char number[24];
    g->service->metrics.counts[KL_COUNT_TRIMMED] += g->n_left_out;
    snprintf(number, sizeof number, "%zu", g->n_left_out);
    kl_reply_header(g->exchange, "X-Messages-Left-Out", number);
}

/* Submits choice i, of this prompt. */
static enum kl_status submit_choice(struct kl_generation *g, size_t i,
                                    const struct kl_tokens *prompt, struct kl_error *err)
{
    const struct kl_preparation *p = g->preparation;
    const struct kl_generation_request *r = &p->request;
    struct kl_answer_choice *c = &g->choices[i];
    size_t max_tokens = r->max_tokens < p->max_tokens ? r->max_tokens : p->max_tokens;
    bool is_read = g->live == NULL || g->live->readers != NULL;
    struct kl_request_options options = {
        .tokens = prompt->ids,
        .n_tokens = prompt->len,
        .max_tokens = max_tokens,
        .sampling = r->sampling,
        .stops = r->stops,
        .n_stops = r->n_stops,
        .rule = r->rule,
        .trie = r->trie,
        .prediction = p->prediction.ids,
        .n_prediction = p->prediction.len,
        .loop_guard = r->loop_guard,
        .logprobs = r->logprobs,
        .top_logprobs = r->top_logprobs,
        .token_ids = r->token_ids,
        .priority = is_read ? r->priority : KL_PRIORITY_BACKGROUND,
        .cache_scope = g->exchange->cache_scope,
        .deadline_seconds = deadline_left(g),
    };
    options.sampling.seed += i;
    kl_buffer_init(&c->text, MAX_ANSWER_SIZE);
    kl_buffer_init(&c->tokens, MAX_TOKENS_SIZE);
    kl_buffer_init(&c->logprobs, MAX_LOGPROBS_SIZE);
    if (g->call_names != NULL) {
        c->call_reader = malloc(sizeof *c->call_reader);
        if (c->call_reader == NULL)
            return kl_fail(err, KL_ERR_MEMORY, "no memory for the request");
        kl_call_reader_init(c->call_reader, g->call_names);
    }
    c->prompt_tokens = (uint32_t)prompt->len;
    c->submit_ns = kl_now_ns();
    enum kl_status status = kl_engine_submit(g->model->served.engine, &options, &c->request, err);
    if (status != KL_OK)
        c->request = NULL;
    return status;
}

static enum kl_status check_name(const struct kl_generation *g,
                                 const struct kl_generation_request *r, struct kl_api_error *error)
{
    if (r->strict_name)
        return kl_served_check_tag(&g->model->served, r->model, error);
    return g->service->options.strict_model
               ? kl_served_check_name(&g->model->served, r->model, error)
               : KL_OK;
}

static enum kl_status submit(struct kl_generation *g, struct kl_api_error *error)
{
    const struct kl_preparation *p = g->preparation;
    const struct kl_generation_request *r = &p->request;
    bool embeds = r->embedding.format != NULL;
    size_t n_prompts;
    const struct kl_tokens *prompts = kl_preparation_prompts(p, &n_prompts);
    size_t n = embeds ? 1 : n_prompts * r->n_choices;
    struct kl_engine_stats stats;
    kl_hosted_stats(g->model, &stats);
    if (check_name(g, r, error) != KL_OK || admit(g, r, n, &stats, error) != KL_OK)
        return KL_ERR_INVALID;
    if (embeds)
        return kl_embedding_work_begin(g, error);
    g->choices = calloc(n, sizeof *g->choices);
    if (g->choices == NULL)
        return kl_api_fail_memory(error, "the request");
    g->n_per_prompt = r->n_choices;
    g->priority = r->priority;
    g->n_left_out = p->fit.n_left_out;
    g->service->metrics.counts[KL_COUNT_LATE_LINES] += p->n_late_lines;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        const struct kl_tokens *prompt = &prompts[i / r->n_choices];
        struct kl_error err;
        g->n_choices = i + 1;
        if (submit_choice(g, i, prompt, &err) != KL_OK)
            status = refuse(&err, prompt, stats.ctx_size, error);
    }
    g->n_open = g->n_choices;
    g->prefill_ns = kl_now_ns();
    if (g->n_left_out > 0 && status == KL_OK)
        count_left_out(g);
    return status;
}

static size_t count_generations(const struct kl_service *s, bool prepared)
{
    size_t n = 0;
    for (const struct kl_generation *g = s->generations; g != NULL; g = g->next)
        n += !prepared || g->preparation != NULL;
    return n;
}

/* Counts the others that wait for the model of a request. */
static size_t count_waiting(const struct kl_service *s, const struct kl_generation *request)
{
    size_t n = 0;
    for (const struct kl_generation *g = s->generations; g != NULL; g = g->next)
        n += g != request && g->model == request->model && g->preparation != NULL;
    return n;
}

/* Checks whether another request may wait for a model; n do. */
static enum kl_status check_waiting(struct kl_generation *g, size_t n, size_t most,
                                    struct kl_api_error *error)
{
    if (n < most)
        return KL_OK;
    kl_api_fail(error, 429, "queue_full", NULL,
                "%zu requests wait for the model to be loaded, which is the limit of this server; "
                "try again later",
                n);
    error->retry_after = LOADING_WAIT;
    g->refusal = KL_COUNT_REFUSED_FULL;
    return KL_ERR_BUSY;
}

/* Checks whether a new request may queue, before any work is done for it. Requests that are being
 * prepared count as queued. Where there are several models, it is not known yet for which one it
 * is: only the number of all requests is limited here. */
static enum kl_status check_room(struct kl_generation *g, struct kl_api_error *error)
{
    const struct kl_service *s = g->service;
    struct kl_engine_stats stats;
    if (s->host.n > 1)
        return check_waiting(g, count_generations(s, true), 2 * s->options.max_waiting, error);
    kl_hosted_stats(g->model, &stats);
    stats.queued += count_generations(s, true);
    return admit(g, &g->preparation->request, 1, &stats, error);
}

/* Returns the earlier of the deadlines that the client and the operator set; 0: none. */
static uint64_t deadline(const struct kl_exchange *x, const struct kl_generation_request *r)
{
    double seconds = r->deadline_seconds, limit = kl_service_of(x)->options.max_seconds;
    if (limit > 0 && (!(seconds > 0) || limit < seconds))
        seconds = limit;
    return seconds > 0 ? x->start_ns + (uint64_t)(seconds * 1e9) : 0;
}

/* Refuses a request with an error. */
static void turn_away(struct kl_generation *g, const struct kl_api_error *error)
{
    if (g->begun) { /* it has waited for the model */
        kl_generation_fail(g, error, g->refusal);
        return;
    }
    if (g->refusal != KL_COUNT_FAILED)
        g->service->metrics.counts[g->refusal]++;
    kl_reply_error(g->exchange, error);
    kl_generation_free(g);
}

static void keep_model(struct kl_generation *g, const struct kl_generation_request *r)
{
    kl_host_keep(g->model, r->has_keep_alive ? r->keep_alive : -1);
}

/* Answers with the document that the worker has made. */
static void answer_computed(struct kl_generation *g)
{
    struct kl_preparation *p = g->preparation;
    struct kl_api_error error;
    if (check_name(g, &p->request, &error) != KL_OK) {
        turn_away(g, &error);
        return;
    }
    keep_model(g, &p->request);
    kl_reply_text(g->exchange, 200, "application/json; charset=utf-8", p->computed.data);
    g->service->metrics.counts[KL_COUNT_COMPUTED]++;
    kl_generation_free(g);
}

/* The text of the request is read. */
static void drop_body(struct kl_generation *g)
{
    kl_preparation_drop_body(g->preparation, g->exchange);
    if (g->live != NULL)
        kl_live_hold(g->live, 0);
}

/* Takes over what the dialect keeps for its format. A request that waited for the model has it from
 * its second parse. */
static void take_kept(struct kl_generation *g)
{
    struct kl_generation_request *r = &g->preparation->request;
    if (r->kept == NULL)
        return;
    free(g->kept);
    g->kept = r->kept;
    r->kept = NULL;
}

/* Copies the fields that the answer format needs. Not called again for a request that waited for
 * the model: if its second parse fails, there are no fields to read. */
static void read_request(struct kl_generation *g)
{
    struct kl_generation_request *r = &g->preparation->request;
    const struct kl_dialect *dialect = g->preparation->dialect;
    g->format = r->stream ? dialect->stream : dialect->document;
    g->include_usage = r->include_usage;
    g->return_progress = r->return_progress;
    g->logprobs = r->logprobs;
    g->service_tier = r->service_tier;
    g->function_calls = r->function_calls;
    take_kept(g);
    g->record = r->record;
    g->call_names = r->call_names;
    r->record = NULL;
    r->call_names = NULL;
}

/* Makes the model that a request names its own. Returns whether that is another one. */
static bool follow_name(struct kl_generation *g)
{
    const struct kl_preparation *p = g->preparation;
    struct kl_hosted *m = &g->service->host.models[p->wanted];
    if (p->status != KL_OK || m == g->model)
        return false;
    kl_host_use(m);
    kl_host_leave(g->model);
    g->model = m;
    return true;
}

/* Lets a request wait until its model is open (kl_generations_begin). */
static void wait_for_model(struct kl_generation *g)
{
    const struct kl_service *s = g->service;
    struct kl_api_error error;
    if (kl_service_is_loading(s)) {
        kl_generation_begin(g);
        kl_generation_send_progress(g);
    } else if (check_waiting(g, count_waiting(s, g), s->options.max_waiting, &error) != KL_OK) {
        turn_away(g, &error);
    } else {
        kl_host_want(g->model);
    }
}

/* Continues with a request that the worker has parsed; its prompt is encoded, too, if a model was
 * loaded. */
static void on_prepared(struct kl_job *job)
{
    struct kl_preparation *p = kl_preparation_of(job);
    struct kl_generation *g = p->generation;
    struct kl_api_error error;
    p->on_worker = false;
    kl_host_leave(p->model);
    if (g == NULL || job->cancelled) {
        if (g != NULL)
            g->preparation = NULL;
        kl_preparation_free(p);
        return;
    }
    if (follow_name(g) && (kl_hosted_is_open(g->model) || p->request.closed_suffices)) {
        kl_preparation_submit(p, g->service, g->model);
        return;
    }
    if (g->format == NULL)
        read_request(g);
    if (p->status != KL_OK || p->complete)
        drop_body(g);
    if (p->status != KL_OK) {
        error = p->error;
        turn_away(g, &error);
    } else if (!p->complete && !kl_hosted_is_open(g->model)) {
        wait_for_model(g);
    } else if (!p->complete) {
        kl_preparation_submit(p, g->service, g->model);
    } else if (p->request.compute != NULL) {
        answer_computed(g);
    } else if (submit(g, &error) != KL_OK) {
        turn_away(g, &error);
    } else {
        struct kl_service *s = g->service;
        keep_model(g, &p->request);
        kl_generation_begin(g);
        take_kept(g);
        g->preparation = NULL;
        kl_preparation_free(p);
        if (g->format->begin != NULL)
            g->format->begin(g);
        kl_generations_submit(s);
    }
}

static struct kl_generation *new_generation(struct kl_exchange *x, const struct kl_dialect *dialect,
                                            struct kl_api_error *error)
{
    struct kl_generation *g = calloc(1, sizeof *g);
    if (g == NULL) {
        kl_api_fail_memory(error, "the request");
        return NULL;
    }
    g->preparation = kl_preparation_new(x, dialect, on_prepared, error);
    if (g->preparation == NULL) {
        free(g);
        return NULL;
    }
    g->preparation->generation = g;
    g->exchange = x;
    g->service = kl_service_of(x);
    g->model = &g->service->host.models[0];
    kl_host_use(g->model);
    g->deadline_ns = deadline(x, &g->preparation->request);
    g->created = (int64_t)time(NULL);
    g->refusal = KL_COUNT_FAILED;
    return g;
}

/* Lets the answer to a request go on when its client leaves. */
static enum kl_status outlive_client(struct kl_generation *g, const char *id,
                                     struct kl_api_error *error)
{
    struct kl_exchange *x = g->exchange;
    if (kl_live_begin(&g->service->live, x, id, g, &g->live, error) != KL_OK)
        return KL_ERR_INVALID;
    kl_preparation_take_body(g->preparation, x);
    kl_live_hold(g->live, g->preparation->own.allocated);
    g->exchange = &g->live->exchange;
    return KL_OK;
}

void kl_generation_start(struct kl_exchange *x, const struct kl_dialect *dialect)
{
    struct kl_service *s = kl_service_of(x);
    struct kl_api_error error;
    if (!kl_request_is_welcome(x)) {
        kl_api_fail(&error, 503, "stopping", NULL,
                    "the server is being stopped; if it is started again, it will take requests");
        error.retry_after = KL_SERVICE_RETRY_SECONDS;
        kl_reply_error(x, &error);
        return;
    }
    char id[KL_LIVE_ID_SIZE] = "";
    bool answers = (x->route->flags & KL_ROUTE_ANSWERS) != 0 && dialect->document->text != NULL;
    if (answers && kl_live_read_id(x, id, &error) != KL_OK) {
        kl_reply_error(x, &error);
        return;
    }
    struct kl_generation *g = new_generation(x, dialect, &error);
    if (g == NULL) {
        kl_reply_error(x, &error);
        return;
    }
    bool loading = kl_service_is_loading(s);
    if ((loading ? check_waiting(g, count_generations(s, false), s->options.max_waiting, &error)
                 : check_room(g, &error)) != KL_OK ||
        (id[0] != '\0' && outlive_client(g, id, &error) != KL_OK)) {
        turn_away(g, &error);
        return;
    }
    kl_generation_add(g);
    kl_preparation_submit(g->preparation, s, g->model);
}

/* Refuses a request whose model cannot be opened. */
static void refuse_closed(struct kl_generation *g)
{
    struct kl_api_error error;
    kl_api_fail(&error, 503, "model_not_loaded", "model",
                "the model %.100s cannot be opened: %.300s", g->model->served.model_name,
                g->model->error.text);
    turn_away(g, &error);
}

void kl_generations_begin(struct kl_service *s, struct kl_hosted *m)
{
    struct kl_generation *g = s->generations, *previous;
    while (g != NULL && g->next != NULL)
        g = g->next;
    for (; g != NULL; g = previous) {
        previous = g->previous;
        if (g->model != m || g->preparation == NULL || g->preparation->on_worker)
            continue;
        if (kl_hosted_is_open(m))
            kl_preparation_submit(g->preparation, s, g->model);
        else
            refuse_closed(g);
    }
}
