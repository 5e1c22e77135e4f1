#include "service/live_answer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Retry-After, seconds: until another answer has ended. */
#define BUSY_WAIT 5

/* An exchange that gets the answer. */
struct kl_live_reader {
    struct kl_live_answer *live;
    struct kl_exchange *exchange;
    uint64_t next; /* the number of the event it gets next */
    bool is_placed, has_begun;
    struct kl_event_cursor cursor; /* before that event, once it is there */
    struct kl_live_reader *previous, *following;
};

/* ---- readers --------------------------------------------------------------------------------- */

static void note_alone(struct kl_live_answer *live)
{
    if (live->readers != NULL)
        return;
    live->alone_ns = kl_now_ns();
    live->all->events->alone(live->all->context);
}

/* The exchange is answered, or gone. */
static void remove_reader(struct kl_live_reader *r)
{
    struct kl_live_answer *live = r->live;
    *(r->previous != NULL ? &r->previous->following : &live->readers) = r->following;
    if (r->following != NULL)
        r->following->previous = r->previous;
    if (live->client == r)
        live->client = NULL;
    free(r);
}

/* Sends the document. One piece: there is nothing behind it to begin with. */
static void send_document(struct kl_live_reader *r)
{
    const struct kl_live_answer *live = r->live;
    struct kl_exchange *x = r->exchange;
    struct kl_event_cursor cursor = {0};
    struct kl_buffer text;
    struct kl_api_error error;
    enum kl_status status = KL_OK;
    kl_buffer_init(&text, KL_LIVE_BYTES + KL_LIVE_RESERVE);
    kl_exchange_watch(x, NULL, NULL);
    if (r->next > 0) {
        kl_api_fail(&error, 400, "invalid_value", "from",
                    "this answer is not streamed: it is one document, and from must be 0");
        kl_reply_error(x, &error);
    } else {
        bool is_there = kl_event_log_read(&live->log, &cursor, &text, &status);
        kl_reply_headers_of(x, &live->exchange);
        kl_reply_text(x, live->exchange.status, live->type,
                      is_there && status == KL_OK ? text.data : NULL);
    }
    kl_buffer_release(&text);
    remove_reader(r);
}

/* Writes the events that are there and that the client takes; the reader may be gone then. */
static void serve(struct kl_live_reader *r)
{
    const struct kl_live_answer *live = r->live;
    struct kl_exchange *x = r->exchange;
    if (live->is_document && live->has_ended) {
        send_document(r);
        return;
    }
    if (live->type == NULL || live->is_document)
        return;
    if (!r->has_begun) {
        kl_reply_headers_of(x, &live->exchange);
        kl_stream_begin(x, live->type);
        r->has_begun = true;
    }
    if (!r->is_placed && r->next <= live->log.n) {
        r->cursor = kl_event_log_seek(&live->log, r->next);
        r->is_placed = true;
    }
    struct kl_buffer event;
    kl_buffer_init(&event, KL_LIVE_BYTES + KL_LIVE_RESERVE);
    for (; r->next < live->log.n && !kl_stream_is_full(x); r->next++) {
        enum kl_status status = KL_OK;
        kl_buffer_clear(&event);
        kl_event_log_read(&live->log, &r->cursor, &event, &status);
        kl_stream_write(x, status, &event);
    }
    kl_buffer_release(&event);
    if (live->has_ended && r->next >= live->log.n) {
        kl_stream_end(x);
        remove_reader(r);
    }
}

static void serve_all(struct kl_live_answer *live)
{
    for (struct kl_live_reader *r = live->readers, *following; r != NULL; r = following) {
        following = r->following;
        serve(r);
    }
}

static void on_gone(void *context, const char *cause)
{
    (void)cause;
    struct kl_live_reader *r = context;
    struct kl_live_answer *live = r->live;
    struct kl_api_error error;
    remove_reader(r);
    note_alone(live);
    if (live->work == NULL) {
        kl_live_free_if_unused(live);
    } else if (!kl_live_count(live, live->log.bytes)) {
        kl_api_fail(&error, 503, "busy", NULL,
                    "other answers with X-Answer-Id leave no room for the text of this request");
        live->all->events->stop(live->work, &error);
    } else {
        live->all->events->readers_changed(live->work);
    }
}

static void on_drained(void *context)
{
    struct kl_live_reader *r = context;
    struct kl_live_answer *live = r->live;
    serve(r);
    if (live->has_ended)
        note_alone(live);
    kl_live_free_if_unused(live);
}

static struct kl_live_reader *add_reader(struct kl_live_answer *live, struct kl_exchange *x,
                                         uint64_t from)
{
    static const struct kl_exchange_events events = {on_gone, on_drained};
    struct kl_live_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    *r = (struct kl_live_reader){
        .live = live, .exchange = x, .next = from, .following = live->readers};
    if (live->readers != NULL)
        live->readers->previous = r;
    live->readers = r;
    kl_exchange_watch(x, &events, r);
    return r;
}

enum kl_status kl_live_read(struct kl_live_answer *live, struct kl_exchange *x, uint64_t from,
                            struct kl_api_error *error)
{
    struct kl_live_reader *r = add_reader(live, x, from);
    if (r == NULL)
        return kl_api_fail_memory(error, "the request");
    serve(r);
    if (live->work != NULL)
        live->all->events->readers_changed(live->work);
    else
        note_alone(live);
    return KL_OK;
}

/* ---- the generation's side ------------------------------------------------------------------- */

/* A piece cannot be kept, nor any behind it. In the reserve only the first one, the error itself,
 * is necessary. */
static void set_fault(struct kl_live_answer *live, enum kl_live_fault fault)
{
    if (live->fault == KL_LIVE_SOUND)
        live->fault = fault;
    if (live->log.n == live->n_before_error)
        live->in_reserve = false;
}

static bool accepts(const struct kl_live_answer *live)
{
    return !live->has_ended && (live->fault == KL_LIVE_SOUND || live->in_reserve);
}

static void append(struct kl_live_answer *live, const char *data, size_t len)
{
    size_t before = live->log.bytes, growth = kl_event_log_growth(&live->log, len);
    size_t most = KL_LIVE_BYTES + (live->in_reserve ? KL_LIVE_RESERVE : 0);
    if (!accepts(live) || len == 0)
        return;
    if (before + growth > most)
        set_fault(live, KL_LIVE_FULL);
    else if (!kl_live_count(live, before + growth))
        set_fault(live, KL_LIVE_BUSY);
    else if (kl_event_log_append(&live->log, data, len) != KL_OK)
        set_fault(live, KL_LIVE_NO_MEMORY);
    kl_live_count(live, live->log.bytes); /* what it has really taken */
}

static void take_piece(void *context, const struct kl_buffer *text)
{
    struct kl_live_answer *live = context;
    append(live, text->data, text->len);
    serve_all(live);
}

static void take_begin(void *context, const char *content_type)
{
    struct kl_live_answer *live = context;
    live->type = content_type;
    serve_all(live);
}

static void take_comment(void *context, const struct kl_buffer *text)
{
    struct kl_live_answer *live = context;
    for (struct kl_live_reader *r = live->readers; r != NULL; r = r->following) {
        if (r->has_begun && r->next >= live->log.n && !kl_stream_is_full(r->exchange))
            kl_stream_write(r->exchange, KL_OK, text);
    }
}

static void end(struct kl_live_answer *live)
{
    bool was_read = live->readers != NULL;
    live->has_ended = true;
    if (live->is_document && live->exchange.status != 200 && was_read)
        live->is_forgotten = true; /* the request was refused: its ID is free */
    serve_all(live);
}

static void take_end(void *context)
{
    struct kl_live_answer *live = context;
    if (accepts(live))
        end(live);
}

static void take_cut(void *context)
{
    set_fault(context, KL_LIVE_NO_MEMORY);
}

static void take_reply(void *context, const char *content_type, const char *text)
{
    struct kl_live_answer *live = context;
    live->is_document = true;
    live->type = content_type;
    if (text == NULL)
        set_fault(live, KL_LIVE_NO_MEMORY);
    else
        append(live, text, strlen(text));
    if (accepts(live))
        end(live);
}

static const struct kl_exchange_sink sink = {take_begin, take_piece, take_comment,
                                             take_end,   take_cut,   take_reply};

static enum kl_status refuse_busy(struct kl_api_error *error)
{
    kl_api_fail(error, 503, "busy", NULL,
                "the answers that go on without their clients (X-Answer-Id) leave no room for "
                "another one: try again when one of them has ended, or DELETE it");
    error->retry_after = BUSY_WAIT;
    return KL_ERR_INVALID;
}

enum kl_status kl_live_begin(struct kl_live_answers *all, struct kl_exchange *x, const char *id,
                             void *work, struct kl_live_answer **out, struct kl_api_error *error)
{
    if (kl_live_find(all, x->cache_scope, id) != NULL) {
        kl_reply_header(x, "x-should-retry", "false"); /* OpenAI's libraries would */
        return kl_api_fail(error, 409, "answer_id_in_use", "X-Answer-Id",
                           "the X-Answer-Id %s is in use: GET /v1/answers/%s continues that "
                           "answer; a new one needs an ID of its own",
                           id, id);
    }
    struct kl_live_answer *live = calloc(1, sizeof *live);
    if (live == NULL)
        return kl_api_fail_memory(error, "the request");
    *live = (struct kl_live_answer){.work = work,
                                    .scope = x->cache_scope,
                                    .address = *kl_request_peer(x),
                                    .all = all,
                                    .alone_ns = kl_now_ns()};
    memcpy(live->id, id, sizeof live->id);
    kl_exchange_detach(x, &sink, live, &live->exchange);
    kl_live_link(live);
    bool has_room = !kl_live_is_one_too_many(live) && kl_live_count(live, 0);
    if (has_room)
        live->client = add_reader(live, x, 0);
    if (live->client == NULL) {
        live->work = NULL;
        kl_live_free(live);
        return has_room ? kl_api_fail_memory(error, "the request") : refuse_busy(error);
    }
    *out = live;
    return KL_OK;
}

void kl_live_hold(struct kl_live_answer *live, size_t bytes)
{
    live->n_held = bytes;
    if (live->client != NULL)
        kl_exchange_keep(live->client->exchange, bytes);
    kl_live_count(live, live->log.bytes);
}

enum kl_status kl_live_check(const struct kl_live_answer *live, struct kl_api_error *error)
{
    switch (live->fault) {
    case KL_LIVE_SOUND:
        return KL_OK;
    case KL_LIVE_FULL:
        return kl_api_fail(error, 400, "answer_too_long", NULL,
                           "the answer is longer than what is kept of one with X-Answer-Id, %zu KB",
                           KL_LIVE_BYTES >> 10);
    case KL_LIVE_BUSY:
        return kl_api_fail(error, 503, "busy", NULL,
                           "other answers with X-Answer-Id leave no room for more of this one");
    default:
        return kl_api_fail_memory(error, "the answer");
    }
}

void kl_live_begin_error(struct kl_live_answer *live)
{
    live->in_reserve = live->log.is_tight = true;
    live->n_before_error = live->log.n;
}

/* A reader of an answer that could not be completed. */
static void cut_reader(struct kl_live_reader *r)
{
    struct kl_exchange *x = r->exchange;
    kl_exchange_watch(x, NULL, NULL);
    if (r->has_begun)
        kl_stream_cut(x);
    else
        kl_reply_text(x, 503, NULL, NULL);
    remove_reader(r);
}

void kl_live_leave(struct kl_live_answer *live)
{
    live->work = NULL;
    if (!live->has_ended) {
        live->is_forgotten = true;
        while (live->readers != NULL)
            cut_reader(live->readers);
    }
    kl_live_hold(live, 0);
    note_alone(live);
    kl_live_free_if_unused(live);
}

/* ---- for the service ------------------------------------------------------------------------- */

enum kl_status kl_live_read_id(const struct kl_exchange *x, char id[KL_LIVE_ID_SIZE],
                               struct kl_api_error *error)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const char *value = kl_request_header(x, "X-Answer-Id");
    id[0] = '\0';
    if (value == NULL)
        return KL_OK;
    bool fits = strlen(value) == sizeof shape - 1;
    for (size_t i = 0; fits && i < sizeof shape; i++) {
        unsigned char c = (unsigned char)value[i];
        fits = shape[i] == 'x' ? isxdigit(c) != 0 : c == (unsigned char)shape[i];
        id[i] = (char)tolower(c);
    }
    if (fits)
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", "X-Answer-Id",
                       "X-Answer-Id must be a UUID of 36 characters, like "
                       "123e4567-e89b-42d3-a456-426614174000, not \"%.60s\"",
                       value);
}

void kl_live_delete(struct kl_live_answer *live, const struct kl_api_error *error)
{
    live->is_forgotten = true;
    if (live->work != NULL)
        live->all->events->stop(live->work, error);
    else
        kl_live_free_if_unused(live);
}

/* Ends one answer that is due; false: there is none. */
static bool expire_one(struct kl_live_answers *all, uint64_t now_ns)
{
    struct kl_live_answer *live = all->oldest;
    struct kl_api_error error;
    while (live != NULL && (live->readers != NULL || now_ns < live->alone_ns + KL_LIVE_ALONE_NS))
        live = live->newer;
    if (live == NULL)
        return false;
    if (live->work == NULL) {
        kl_live_free(live);
        return true;
    }
    kl_api_fail(&error, 410, "cancelled", NULL,
                "the answer was stopped: nothing has read it for %u s",
                (unsigned)(KL_LIVE_ALONE_NS / 1000000000u));
    live->alone_ns = now_ns;
    all->events->stop(live->work, &error);
    return true;
}

uint64_t kl_live_answers_expire(struct kl_live_answers *all, uint64_t now_ns)
{
    uint64_t first = UINT64_MAX;
    while (expire_one(all, now_ns))
        ;
    for (const struct kl_live_answer *live = all->oldest; live != NULL; live = live->newer) {
        if (live->readers == NULL && live->alone_ns < first)
            first = live->alone_ns;
    }
    return first == UINT64_MAX ? 0 : first + KL_LIVE_ALONE_NS - now_ns;
}

void kl_live_answers_free(struct kl_live_answers *all)
{
    while (all->oldest != NULL) {
        struct kl_live_answer *live = all->oldest;
        while (live->readers != NULL) {
            kl_exchange_watch(live->readers->exchange, NULL, NULL);
            remove_reader(live->readers);
        }
        live->work = NULL;
        kl_live_free(live);
    }
}
