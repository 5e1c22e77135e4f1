#include "service/embedding_work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/exchange.h"
#include "service/generation.h"
#include "service/preparation.h"
#include "service/raw_prompt.h"
#include "service/service.h"

#define JSON_TYPE "application/json; charset=utf-8"
/* Room for the largest vector as text, in addition to what is flushed. */
#define MAX_TEXT (KL_EMBEDDING_WHOLE + ((size_t)1 << 20))

/* Texts of one request that the engine has, or that wait for one before them to be written. */
enum { MOST_AT_ONCE = 64 };

struct kl_embedding_work {
    struct kl_embedding_fields fields;
    enum kl_priority priority;
    struct kl_tokens *texts; /* [n_texts]; those that were submitted are empty */
    size_t n_texts;
    size_t waiting_bytes; /* of the tokens of the others */
    uint64_t turn;        /* when it submitted last, in turns of the service; 0: never */
    /* Of the texts from n_written on, in order: what the engine has, by index modulo the size. */
    struct kl_request *requests[MOST_AT_ONCE];
    bool done[MOST_AT_ONCE];
    size_t n_submitted, n_written;
    float *vector;         /* [n_embd] the one that is written */
    struct kl_buffer text; /* of the document, not sent yet */
    bool is_streamed;      /* the document is sent in pieces */
};

const struct kl_embedding_fields *kl_embedding_work_fields(const struct kl_embedding_work *work)
{
    return &work->fields;
}

/* ---- on the worker's thread ------------------------------------------------------------------ */

/* Whether the first or the last part of a prompt is text, and not ids. */
static bool is_text(const struct kl_raw_input *raw, size_t prompt, bool last)
{
    size_t begin = raw->begins[prompt];
    size_t end = prompt + 1 < raw->n_prompts ? raw->begins[prompt + 1] : raw->n_parts;
    return begin < end && raw->parts[last ? end - 1 : begin].kind == KL_RAW_TEXT;
}

static enum kl_status refuse_long(size_t i, size_t n_tokens, size_t ctx_size, const char *field,
                                  struct kl_api_error *error)
{
    kl_api_fail(error, 400, "context_length_exceeded", field,
                "text %zu of %s is too large: it has %zu tokens, which exceeds the available "
                "context size (%zu tokens): shorten it, set truncate, or raise --ctx-size",
                i + 1, field, n_tokens, ctx_size);
    error->n_prompt_tokens = n_tokens;
    error->n_ctx = ctx_size;
    return KL_ERR_LIMIT;
}

static enum kl_status fit_text(struct kl_tokens *text, int32_t begin, int32_t end)
{
    if (begin >= 0 && kl_tokens_push_front(text, begin) != KL_OK)
        return KL_ERR_MEMORY;
    return end >= 0 ? kl_tokens_push(text, end) : KL_OK;
}

enum kl_status kl_embedding_work_fit(const struct kl_generation_request *r,
                                     const struct kl_tokenizer *tokenizer, size_t ctx_size,
                                     struct kl_tokens *texts, size_t n, struct kl_api_error *error)
{
    const char *field = r->raw.field != NULL ? r->raw.field : "input";
    for (size_t i = 0; i < n; i++) {
        int32_t begin = is_text(&r->raw, i, false) ? kl_tokenizer_text_begin(tokenizer) : -1;
        int32_t end = is_text(&r->raw, i, true) ? kl_tokenizer_text_end(tokenizer) : -1;
        size_t around = (size_t)(begin >= 0) + (size_t)(end >= 0);
        if (texts[i].len == 0)
            return kl_api_fail(error, 400, "invalid_value", field,
                               "text %zu of %s is empty; it must have at least one token", i + 1,
                               field);
        if (texts[i].len + around > ctx_size) {
            if (!r->embedding.truncates || ctx_size <= around)
                return refuse_long(i, texts[i].len + around, ctx_size, field, error);
            texts[i].len = ctx_size - around;
        }
        if (fit_text(&texts[i], begin, end) != KL_OK)
            return kl_api_fail_memory(error, "the input");
    }
    return KL_OK;
}

/* ---- the document ---------------------------------------------------------------------------- */

/* Sends what there is of a document that has grown. */
static void flush(struct kl_generation *g)
{
    struct kl_embedding_work *w = g->embedding;
    if (!w->is_streamed)
        kl_stream_begin(g->exchange, JSON_TYPE);
    w->is_streamed = true;
    kl_stream_write(g->exchange, KL_OK, &w->text);
    kl_buffer_clear(&w->text);
}

static void end_document(struct kl_generation *g)
{
    struct kl_embedding_work *w = g->embedding;
    bool whole = w->fields.format->end(g, &w->text) == KL_OK;
    if (!w->is_streamed) {
        kl_reply_text(g->exchange, 200, JSON_TYPE, whole ? w->text.data : NULL);
        return;
    }
    kl_stream_write(g->exchange, whole ? KL_OK : KL_ERR_MEMORY, &w->text);
    kl_stream_end(g->exchange);
}

/* A document that has begun cannot become an error: its connection is cut. */
static void fail_document(struct kl_generation *g, const struct kl_api_error *error)
{
    if (g->embedding == NULL || !g->embedding->is_streamed) {
        kl_reply_error(g->exchange, error);
        return;
    }
    kl_exchange_watch(g->exchange, NULL, NULL);
    kl_stream_cut(g->exchange);
}

const struct kl_answer_format kl_embedding_document = {.end = end_document, .error = fail_document};

/* Cuts a vector to what was asked for, and makes its length 1. */
static size_t finish_vector(const struct kl_embedding_fields *fields, const float *from, size_t n,
                            float *to)
{
    double squares = 0;
    if (fields->dimensions > 0 && fields->dimensions < n)
        n = fields->dimensions;
    for (size_t i = 0; i < n; i++)
        squares += (double)from[i] * (double)from[i];
    double factor = squares > 0 && !fields->is_raw ? 1 / sqrt(squares) : 1;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)((double)from[i] * factor);
    return n;
}

static enum kl_status write_vector(struct kl_generation *g, const struct kl_request *request)
{
    struct kl_embedding_work *w = g->embedding;
    size_t n;
    const float *vector = kl_request_embedding(request, &n);
    n = finish_vector(&w->fields, vector, n, w->vector);
    return w->fields.format->vector(g, w->n_written, w->vector, n, &w->text);
}

/* ---- what the engine does -------------------------------------------------------------------- */

static size_t place_of(size_t text)
{
    return text % MOST_AT_ONCE;
}

/* The engine is done with a text. */
static enum kl_status on_done(struct kl_generation *g, size_t text, const struct kl_event *event,
                              struct kl_api_error *error)
{
    struct kl_answer_choice *c = &g->choices[0];
    struct kl_error err;
    g->embedding->done[place_of(text)] = true;
    g->model->n_embeddings--;
    c->cached_tokens += event->cached_tokens;
    c->queue_seconds = text == 0 ? event->queue_seconds : c->queue_seconds;
    c->prefill_seconds = (double)(kl_now_ns() - c->submit_ns) * 1e-9 - c->queue_seconds;
    switch (event->finish) {
    case KL_FINISH_ERROR:
        kl_fail(&err, event->status, "%s", event->text);
        return kl_api_fail_internal(error, &err);
    case KL_FINISH_CANCELLED:
        return kl_api_fail(error, 503, "cancelled", NULL, "the answer was ended by the server");
    case KL_FINISH_DEADLINE:
        c->finish = KL_FINISH_DEADLINE;
        g->n_open = 0;
        return KL_OK;
    default:
        return KL_OK;
    }
}

static enum kl_status read_events(struct kl_generation *g, struct kl_api_error *error)
{
    const struct kl_embedding_work *w = g->embedding;
    struct kl_event event;
    for (size_t i = w->n_written; i < w->n_submitted; i++) {
        while (!w->done[place_of(i)] && kl_request_poll(w->requests[place_of(i)], &event)) {
            if (event.type == KL_EVENT_DONE && on_done(g, i, &event, error) != KL_OK)
                return KL_ERR_INVALID;
        }
    }
    return KL_OK;
}

enum kl_status kl_embedding_work_poll(struct kl_generation *g, struct kl_api_error *error)
{
    struct kl_embedding_work *w = g->embedding;
    if (read_events(g, error) != KL_OK)
        return KL_ERR_INVALID;
    while (g->n_open > 0 && w->n_written < w->n_submitted && w->done[place_of(w->n_written)] &&
           !kl_stream_is_full(g->exchange)) {
        struct kl_request **request = &w->requests[place_of(w->n_written)];
        if (write_vector(g, *request) != KL_OK)
            return kl_api_fail_memory(error, "the answer");
        kl_request_release(*request);
        *request = NULL;
        w->n_written++;
        if (w->text.len > KL_EMBEDDING_WHOLE)
            flush(g);
    }
    if (w->n_written == w->n_texts)
        g->n_open = 0;
    return KL_OK;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static double deadline_left(const struct kl_generation *g)
{
    uint64_t now = kl_now_ns();
    if (g->deadline_ns == 0)
        return 0;
    return g->deadline_ns > now ? (double)(g->deadline_ns - now) * 1e-9 : 1e-9;
}

/* Gives the next text to the engine. */
static enum kl_status submit_next(struct kl_generation *g, struct kl_error *err)
{
    struct kl_embedding_work *w = g->embedding;
    struct kl_tokens *text = &w->texts[w->n_submitted];
    size_t place = place_of(w->n_submitted);
    const struct kl_request_options options = {.tokens = text->ids,
                                               .n_tokens = text->len,
                                               .embeds = true,
                                               .pooling = w->fields.pooling,
                                               .priority = w->priority,
                                               .cache_scope = g->exchange->cache_scope,
                                               .deadline_seconds = deadline_left(g)};
    enum kl_status status =
        kl_engine_submit(g->model->served.engine, &options, &w->requests[place], err);
    if (status != KL_OK)
        return status;
    w->done[place] = false;
    w->n_submitted++;
    w->turn = ++g->service->embeddings.turns;
    g->model->n_embeddings++;
    g->service->embeddings.n_waiting--;
    w->waiting_bytes -= text->len * sizeof *text->ids;
    kl_exchange_keep(g->exchange, w->waiting_bytes);
    kl_tokens_release(text);
    return KL_OK;
}

/* Returns the generation of a model whose last turn was the longest ago, of those that can use one.
 * n_places: texts that each may have in the engine or behind one that is not written. */
static struct kl_generation *next_turn(const struct kl_service *s, const struct kl_hosted *m,
                                       size_t n_places)
{
    struct kl_generation *next = NULL;
    for (struct kl_generation *g = s->generations; g != NULL; g = g->next) {
        const struct kl_embedding_work *w = g->embedding;
        if (w == NULL || g->model != m || w->n_submitted == w->n_texts ||
            w->n_submitted - w->n_written >= n_places || kl_stream_is_full(g->exchange))
            continue;
        if (next == NULL || w->turn < next->embedding->turn)
            next = g;
    }
    return next;
}

/* Gives the engine of a model as many texts as it has room for. Returns a generation that failed.
 */
static struct kl_generation *submit_to(const struct kl_service *s, const struct kl_hosted *m,
                                       struct kl_api_error *error)
{
    struct kl_engine_stats stats;
    struct kl_error err;
    kl_hosted_stats(m, &stats);
    size_t most = stats.parallel < MOST_AT_ONCE ? stats.parallel : MOST_AT_ONCE;
    size_t used = stats.running + stats.queued, room = stats.parallel + stats.queue_size;
    for (; used < room && m->n_embeddings < stats.parallel; used++) {
        struct kl_generation *g = next_turn(s, m, most);
        enum kl_status status = g != NULL ? submit_next(g, &err) : KL_ERR_BUSY;
        if (status == KL_ERR_BUSY)
            return NULL;
        if (status != KL_OK) {
            kl_api_fail_internal(error, &err);
            return g;
        }
    }
    return NULL;
}

struct kl_generation *kl_embeddings_submit(struct kl_service *s, struct kl_api_error *error)
{
    struct kl_generation *failed = NULL;
    if (s->embeddings.n_waiting == 0)
        return NULL;
    for (size_t i = 0; i < s->host.n && failed == NULL; i++) {
        if (kl_hosted_is_open(&s->host.models[i]))
            failed = submit_to(s, &s->host.models[i], error);
    }
    return failed;
}

/* ---- begin and end --------------------------------------------------------------------------- */

/* Takes the texts of the preparation. */
static void take_texts(struct kl_generation *g, struct kl_raw_encoding *raw)
{
    struct kl_embedding_work *w = g->embedding;
    w->texts = raw->prompts;
    w->n_texts = raw->n_prompts;
    raw->prompts = NULL;
    raw->n_prompts = 0;
    for (size_t i = 0; i < w->n_texts; i++)
        w->waiting_bytes += w->texts[i].len * sizeof *w->texts[i].ids;
    g->service->embeddings.n_waiting += w->n_texts;
    kl_exchange_keep(g->exchange, w->waiting_bytes);
}

enum kl_status kl_embedding_work_begin(struct kl_generation *g, struct kl_api_error *error)
{
    struct kl_preparation *p = g->preparation;
    const struct kl_service_options *o = &g->service->options;
    struct kl_engine_stats stats;
    kl_engine_stats(g->model->served.engine, &stats);
    if (p->request.embedding.dimensions > stats.n_embd)
        return kl_api_fail(error, 400, "invalid_value", "dimensions",
                           "dimensions is %zu; the vectors of this model have %zu",
                           p->request.embedding.dimensions, stats.n_embd);
    struct kl_embedding_work *w = g->embedding = calloc(1, sizeof *w);
    g->choices = calloc(1, sizeof *g->choices);
    if (w == NULL || g->choices == NULL)
        return kl_api_fail_memory(error, "the request");
    take_texts(g, &p->raw);
    w->fields = p->request.embedding;
    if (!w->fields.has_pooling)
        w->fields.pooling = o->has_pooling ? o->pooling : stats.pooling;
    w->priority = p->request.priority;
    g->choices[0].prompt_tokens = (uint32_t)(w->waiting_bytes / sizeof(int32_t));
    g->choices[0].submit_ns = kl_now_ns();
    g->choices[0].finish = KL_FINISH_STOP;
    g->n_choices = g->n_per_prompt = g->n_open = 1;
    kl_buffer_init(&w->text, MAX_TEXT);
    w->vector = calloc(stats.n_embd, sizeof *w->vector);
    if (w->vector == NULL || w->fields.format->begin(g, &w->text) != KL_OK)
        return kl_api_fail_memory(error, "the request");
    return KL_OK;
}

void kl_embedding_work_free(struct kl_generation *g)
{
    struct kl_embedding_work *w = g->embedding;
    if (w == NULL)
        return;
    for (size_t i = w->n_submitted; i-- > w->n_written;) { /* as in kl_generation_free() */
        g->model->n_embeddings -= !w->done[place_of(i)];
        kl_request_release(w->requests[place_of(i)]);
    }
    g->service->embeddings.n_waiting -= w->n_texts - w->n_submitted;
    for (size_t i = w->n_submitted; i < w->n_texts; i++)
        kl_tokens_release(&w->texts[i]);
    free(w->texts);
    free(w->vector);
    kl_buffer_release(&w->text);
    free(w);
    g->embedding = NULL;
}
