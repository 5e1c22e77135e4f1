#include "http/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/error_answer.h"
#include "http/framing.h"
#include "http/http_state.h"

/* The most bytes of headers that handlers may add to an answer; today some 500. */
#define MAX_REPLY_HEADERS 8192
/* Room for the bytes around a chunk: evbuffer_add_printf needs 64 free bytes, whatever it writes.
 */
#define MAX_CHUNK_FRAME 96

/* ---- life of an exchange --------------------------------------------------------------------- */

static void free_exchange(struct kl_exchange *x)
{
    struct kl_http *http = x->http;
    if (x->previous != NULL)
        x->previous->next = x->next;
    else if (http->exchanges == x)
        http->exchanges = x->next;
    if (x->next != NULL)
        x->next->previous = x->previous;
    kl_buffer_release(&x->headers);
    free(x);
    kl_connections_check_idle(http);
}

void kl_exchange_finished(struct kl_exchange *x)
{
    free_exchange(x);
}

void kl_exchange_lost(struct kl_exchange *x, const char *cause)
{
    if (x->events != NULL && cause != NULL)
        x->events->gone(x->context, cause);
    free_exchange(x);
}

void kl_exchange_drained(struct kl_exchange *x)
{
    bool held_back = x->held_back;
    x->held_back = false;
    if (held_back && x->events != NULL)
        x->events->drained(x->context);
}

void kl_exchange_watch(struct kl_exchange *x, const struct kl_exchange_events *events,
                       void *context)
{
    x->events = events;
    x->context = context;
}

/* ---- answers --------------------------------------------------------------------------------- */

const char *kl_request_header(const struct kl_exchange *x, const char *name)
{
    return kl_http_head_field(x->head, name);
}

const struct in6_addr *kl_request_peer(const struct kl_exchange *x)
{
    return &x->connection->peer;
}

const char *kl_request_body(const struct kl_exchange *x, size_t *len)
{
    *len = x->connection->body.len;
    return x->connection->body.data;
}

void kl_request_take_body(struct kl_exchange *x, struct kl_buffer *body)
{
    kl_connection_take_body(x->connection, body);
}

bool kl_request_is_welcome(const struct kl_exchange *x)
{
    return !x->http->draining || (x->http->n_handed_over > 0 && x->connection->n_requests == 1);
}

void kl_reply_header(struct kl_exchange *x, const char *name, const char *value)
{
    if (x->head_sent)
        return;
    /* a line break in foreign text would begin another header */
    int len = (int)strcspn(value, "\r\n");
    if (kl_buffer_append_format(&x->headers, "%s: %.*s\r\n", name, len, value) != KL_OK)
        x->lacks_header = true;
}

void kl_reply_headers_of(struct kl_exchange *x, const struct kl_exchange *other)
{
    const struct kl_buffer *more = &other->headers;
    bool failed = more->len > 0 && kl_buffer_append(&x->headers, more->data, more->len) != KL_OK;
    x->lacks_header = x->lacks_header || other->lacks_header || failed;
}

static struct evbuffer *output_of(const struct kl_exchange *x)
{
    return bufferevent_get_output(x->connection->bev);
}

/* An answer that has begun cannot continue without one of its pieces. The end of the connection
 * then arrives as an event, like that of any other. */
void kl_stream_cut(struct kl_exchange *x)
{
    if (x->sink != NULL) {
        x->sink->cut(x->sink_context);
        return;
    }
    kl_err("request %s: no memory for its answer; its connection is cut", x->id);
    shutdown(bufferevent_getfd(x->connection->bev), SHUT_RDWR);
}

/* Reserves memory for the next write, so that it is written completely or not at all. */
static bool make_room(struct kl_exchange *x, size_t size)
{
    if (evbuffer_expand(output_of(x), size) == 0)
        return true;
    kl_stream_cut(x);
    return false;
}

/* Writes the head of the answer. A whole answer has a length; a stream has chunks or, in HTTP/1.0,
 * ends with the connection; a 204 or 304 has neither. */
static void add_head(struct kl_exchange *x, struct evbuffer *out, const size_t *length)
{
    x->close = x->close || !x->head->keep_alive || x->http->draining;
    if (!make_room(x, x->headers.len + KL_ANSWER_OWN_HEADERS))
        return;
    x->head_sent = true;
    kl_answer_status_line(out, x->status);
    evbuffer_add_printf(out, "X-Request-Id: %s\r\n", x->id);
    evbuffer_add(out, x->headers.data, x->headers.len);
    if (length != NULL)
        evbuffer_add_printf(out, "Content-Length: %zu\r\n", *length);
    if (x->chunked)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    if (x->close)
        evbuffer_add_printf(out, "Connection: close\r\n");
    else if (x->head->minor == 0)
        evbuffer_add_printf(out, "Connection: keep-alive\r\n");
    evbuffer_add_printf(out, "\r\n");
}

static void log_reply(const struct kl_exchange *x)
{
    /* Generated answers have their own line with their cost; the rest would only fill the log. */
    bool refused = x->status >= 400;
    bool answers = x->route != NULL && (x->route->flags & KL_ROUTE_ANSWERS) != 0;
    enum kl_log_level level = answers && refused ? KL_LOG_INFO : KL_LOG_DEBUG;
    if (answers && !refused)
        return;
    if (kl_log_enabled(level))
        kl_log(level, "request %s: %s, status %d, %.3f s", x->id,
               x->route != NULL ? x->route->path : "no route", x->status,
               kl_seconds_since(x->start_ns));
}

static void end_answer(struct kl_exchange *x)
{
    x->sent = true;
    x->events = NULL;
    kl_connection_answered(x->connection, !x->close);
}

void kl_reply_fault(struct kl_exchange *x, const struct kl_api_error *error)
{
    kl_err("request %s: %s", x->id, error->text);
    if (x->sink != NULL) {
        kl_reply_error(x, error);
        return;
    }
    kl_error_answer_write(output_of(x), error, kl_exchange_error_shape(x));
    x->status = error->status;
    x->close = true;
    log_reply(x);
    end_answer(x);
}

static void reply_no_memory(struct kl_exchange *x)
{
    if (x->sink != NULL) {
        x->status = 503;
        x->sink->reply(x->sink_context, NULL, NULL);
        return;
    }
    struct kl_api_error error;
    kl_api_fail_memory(&error, "the answer");
    kl_reply_fault(x, &error);
}

/* Sends the complete answer; data may be NULL. */
static void send_reply(struct kl_exchange *x, int status, struct evbuffer *data)
{
    size_t length = data != NULL ? evbuffer_get_length(data) : 0;
    struct evbuffer *out = output_of(x);
    if (x->lacks_header) {
        reply_no_memory(x);
        return;
    }
    x->status = status;
    log_reply(x);
    add_head(x, out, status == 304 || status == 204 ? NULL : &length);
    if (x->head->method != KL_HTTP_HEAD && data != NULL && evbuffer_add_buffer(out, data) != 0)
        kl_stream_cut(x);
    end_answer(x);
}

void kl_reply_text(struct kl_exchange *x, int status, const char *content_type, const char *text)
{
    if (x->sink != NULL && text != NULL && !x->lacks_header) {
        x->status = status;
        x->sink->reply(x->sink_context, content_type, text);
        return;
    }
    if (x->sink != NULL) {
        reply_no_memory(x);
        return;
    }
    struct evbuffer *data = text != NULL ? evbuffer_new() : NULL;
    if (data != NULL && evbuffer_add(data, text, strlen(text)) == 0) {
        kl_reply_header(x, "Content-Type", content_type);
        kl_reply_header(x, "Cache-Control", "no-store");
        send_reply(x, status, data);
    } else {
        reply_no_memory(x);
    }
    if (data != NULL)
        evbuffer_free(data);
}

void kl_reply_error(struct kl_exchange *x, const struct kl_api_error *error)
{
    if (error->retry_after != 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", error->retry_after);
        kl_reply_header(x, "Retry-After", seconds);
    }
    struct kl_buffer body;
    kl_buffer_init(&body, KL_API_ERROR_BYTES);
    bool complete = kl_api_error_write(error, kl_exchange_error_shape(x), &body) == KL_OK &&
                    kl_buffer_append(&body, "\n", 1) == KL_OK;
    kl_reply_text(x, error->status, "application/json; charset=utf-8", complete ? body.data : NULL);
    kl_buffer_release(&body);
}

void kl_reply_static(struct kl_exchange *x, int status, const char *content_type,
                     const unsigned char *data, size_t len)
{
    struct evbuffer *body = data != NULL ? evbuffer_new() : NULL;
    bool there = body != NULL && evbuffer_add_reference(body, data, len, NULL, NULL) == 0;
    x->connection->n_static = data != NULL && x->head->method != KL_HTTP_HEAD ? len : 0;
    if (data != NULL && !there) {
        reply_no_memory(x);
    } else {
        if (data != NULL)
            kl_reply_header(x, "Content-Type", content_type);
        send_reply(x, status, body);
    }
    if (body != NULL)
        evbuffer_free(body);
}

void kl_stream_begin(struct kl_exchange *x, const char *content_type)
{
    x->status = 200;
    x->last_write_ns = kl_now_ns();
    if (x->sink != NULL) {
        x->sink->begin(x->sink_context, content_type);
        return;
    }
    kl_reply_header(x, "Content-Type", content_type);
    kl_reply_header(x, "Cache-Control", "no-store");
    kl_reply_header(x, "X-Accel-Buffering", "no");
    x->chunked = x->head->minor >= 1;
    x->close = x->close || !x->chunked;
    if (x->lacks_header)
        kl_stream_cut(x);
    else
        add_head(x, output_of(x), NULL);
}

void kl_stream_write(struct kl_exchange *x, enum kl_status status, const struct kl_buffer *text)
{
    x->last_write_ns = kl_now_ns();
    if (status != KL_OK) {
        kl_stream_cut(x);
        return;
    }
    if (x->sink != NULL) {
        x->sink->piece(x->sink_context, text);
        return;
    }
    struct evbuffer *out = output_of(x);
    if (!make_room(x, text->len + MAX_CHUNK_FRAME))
        return;
    /* libevent may put text into another chain than the one with the room, and that can fail */
    bool is_written = !x->chunked || evbuffer_add_printf(out, "%zx\r\n", text->len) >= 0;
    is_written = is_written && evbuffer_add(out, text->data, text->len) == 0;
    is_written = is_written && (!x->chunked || evbuffer_add(out, "\r\n", 2) == 0);
    if (!is_written)
        kl_stream_cut(x);
}

void kl_stream_data(struct kl_exchange *x, const char *line)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_HTTP_OUTPUT_BYTES);
    kl_stream_write(x, kl_sse_data(&text, line), &text);
    kl_buffer_release(&text);
}

void kl_stream_event(struct kl_exchange *x, const char *name, const char *line)
{
    struct kl_buffer text;
    kl_buffer_init(&text, strlen(name) + strlen(line) + 32);
    kl_stream_write(x, kl_sse_event(&text, name, line), &text);
    kl_buffer_release(&text);
}

void kl_stream_comment(struct kl_exchange *x, const char *text)
{
    struct kl_buffer line;
    kl_buffer_init(&line, KL_HTTP_OUTPUT_BYTES);
    enum kl_status status = kl_sse_comment(&line, text);
    if (x->sink != NULL && status == KL_OK) {
        x->last_write_ns = kl_now_ns();
        x->sink->comment(x->sink_context, &line);
    } else {
        kl_stream_write(x, status, &line);
    }
    kl_buffer_release(&line);
}

void kl_stream_end(struct kl_exchange *x)
{
    if (x->sink != NULL) {
        x->sink->end(x->sink_context);
        return;
    }
    if (x->chunked && make_room(x, MAX_CHUNK_FRAME) &&
        evbuffer_add(output_of(x), "0\r\n\r\n", 5) != 0)
        kl_stream_cut(x);
    end_answer(x);
}

void kl_exchange_keep(struct kl_exchange *x, size_t bytes)
{
    if (x->sink == NULL)
        kl_connection_keep(x->connection, bytes);
}

bool kl_stream_is_full(struct kl_exchange *x)
{
    if (x->sink != NULL)
        return false;
    bool full = kl_connection_is_full(x->connection);
    x->held_back = x->held_back || full;
    return full;
}

void kl_exchange_detach(const struct kl_exchange *x, const struct kl_exchange_sink *sink,
                        void *context, struct kl_exchange *detached)
{
    *detached = *x;
    detached->connection = NULL;
    detached->sink = sink;
    detached->sink_context = context;
    detached->head = NULL;
    detached->query = NULL;
    detached->events = NULL;
    detached->previous = detached->next = NULL;
    kl_buffer_init(&detached->headers, MAX_REPLY_HEADERS);
}

void kl_exchange_release_detached(struct kl_exchange *detached)
{
    kl_buffer_release(&detached->headers);
}

struct kl_exchange *kl_exchange_begin(struct kl_connection *connection)
{
    struct kl_http *http = connection->http;
    struct kl_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->http = http;
    x->application = http->application;
    x->connection = connection;
    x->head = &connection->head;
    snprintf(x->id, sizeof x->id, "%016" PRIx64 "%08" PRIx64, http->id_prefix, ++http->n_exchanges);
    kl_buffer_init(&x->headers, MAX_REPLY_HEADERS);
    return x;
}

/* From here on the server does not become idle before the request is answered. */
static void begin_answer(struct kl_exchange *x)
{
    struct kl_http *http = x->http;
    x->start_ns = kl_now_ns();
    x->next = http->exchanges;
    if (x->next != NULL)
        x->next->previous = x;
    http->exchanges = x;
}

void kl_exchange_handle(struct kl_exchange *x)
{
    begin_answer(x);
    x->route->handle(x);
}

void kl_exchange_refuse(struct kl_exchange *x, const struct kl_api_error *error, bool keep)
{
    begin_answer(x);
    x->close = x->close || !keep;
    kl_reply_error(x, error);
}
