#include "http/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/connection.h"
#include "http/framing.h"
#include "server/routes.h"
#include "server/server_state.h"
#include "service/generation.h"
#include "json/library_memory.h"

/* The headers of an answer; ours are some 500 bytes. */
#define MAX_REPLY_HEADERS 8192
/* The status line and what add_head adds, some 250 bytes; what stands around a chunk. */
#define MAX_OWN_HEADERS 512
#define MAX_CHUNK_FRAME 96 /* evbuffer_add_printf wants 64 free, whatever it writes */

/* ---- life of an exchange --------------------------------------------------------------------- */

static void free_exchange(struct kl_exchange *x)
{
    struct kl_server *server = x->server;
    if (x->previous != NULL)
        x->previous->next = x->next;
    else if (server->exchanges == x)
        server->exchanges = x->next;
    if (x->next != NULL)
        x->next->previous = x->previous;
    kl_buffer_release(&x->headers);
    free(x);
    kl_server_check_stopped(server);
}

void kl_http_finished(struct kl_exchange *x)
{
    free_exchange(x);
}

void kl_http_lost(struct kl_exchange *x, const char *cause)
{
    if (x->gone != NULL && cause != NULL)
        x->gone(x->context, cause);
    free_exchange(x);
}

void kl_http_drained(struct kl_exchange *x)
{
    if (!x->held_back)
        return;
    x->held_back = false;
    kl_generations_poll(x->server);
}

void kl_exchange_watch(struct kl_exchange *x, void (*gone)(void *context, const char *cause),
                       void *context)
{
    x->gone = gone;
    x->context = context;
}

/* ---- answers --------------------------------------------------------------------------------- */

const char *kl_request_header(const struct kl_exchange *x, const char *name)
{
    return kl_http_head_field(x->head, name);
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
    return !x->server->stopping || (x->server->hands_over && x->connection->n_requests == 1);
}

void kl_reply_header(struct kl_exchange *x, const char *name, const char *value)
{
    /* a line break would begin a header of somebody else's */
    int len = (int)strcspn(value, "\r\n");
    if (kl_buffer_append_format(&x->headers, "%s: %.*s\r\n", name, len, value) != KL_OK)
        x->lacks_header = true;
}

static struct evbuffer *output_of(const struct kl_exchange *x)
{
    return bufferevent_get_output(x->connection->bev);
}

/* Without memory an answer that was begun can not go on: a piece of it would be missing. The
 * connection's end is an event like that of any other. */
static void cut(const struct kl_exchange *x)
{
    kl_err("request %s: no memory for its answer; its connection is cut", x->id);
    shutdown(bufferevent_getfd(x->connection->bev), SHUT_RDWR);
}

/* Room for what is to be written next, so that no half of it is. */
static bool make_room(const struct kl_exchange *x, size_t size)
{
    if (evbuffer_expand(output_of(x), size) == 0)
        return true;
    cut(x);
    return false;
}

/* What every answer begins with. */
static void add_status_line(struct evbuffer *out, int status)
{
    char date[40];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Content-Type-Options: nosniff\r\n",
                        status, kl_http_reason(status), date);
}

void kl_http_write_error(struct evbuffer *out, const struct kl_api_error *error)
{
    /* in place of an error for whose text there is no memory */
    static const char no_memory[] =
        "{\"error\":{\"message\":\"no memory for the answer; try again in a moment\","
        "\"type\":\"server_error\",\"param\":null,\"code\":\"no_memory\"}}";
    json_t *body = kl_api_error_json(error);
    char *json = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    bool lost = kl_json_was_short() || json == NULL;
    const char *text = lost ? no_memory : json;
    unsigned retry_after = lost ? 1 : error->retry_after;
    if (evbuffer_expand(out, MAX_OWN_HEADERS + strlen(text)) == 0) {
        add_status_line(out, lost ? 503 : error->status);
        if (retry_after != 0)
            evbuffer_add_printf(out, "Retry-After: %u\r\n", retry_after);
        evbuffer_add_printf(out,
                            "Content-Type: application/json; charset=utf-8\r\n"
                            "Cache-Control: no-store\r\nContent-Length: %zu\r\n"
                            "Connection: close\r\n\r\n",
                            strlen(text) + 1);
        evbuffer_add(out, text, strlen(text));
        evbuffer_add(out, "\n", 1);
    } /* or the connection is closed without an answer */
    free(json);
}

/* The head of the answer. An answer in one piece has a length, a stream chunks or, in HTTP/1.0,
 * the end of the connection; a 304 neither. */
static void add_head(struct kl_exchange *x, struct evbuffer *out, const size_t *length)
{
    x->close = x->close || !x->head->keep_alive || x->server->stopping;
    if (!make_room(x, x->headers.len + MAX_OWN_HEADERS))
        return;
    add_status_line(out, x->status);
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
    /* Answers have their own line, with what they cost; the rest would only fill the log. */
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
    x->gone = NULL;
    kl_connection_answered(x->connection, !x->close);
}

/* Instead of an answer that could not be made. */
static void reply_failed(struct kl_exchange *x, const struct kl_api_error *error)
{
    kl_err("request %s: %s", x->id, error->text);
    kl_http_write_error(output_of(x), error);
    x->status = error->status;
    x->close = true;
    log_reply(x);
    end_answer(x);
}

static void reply_no_memory(struct kl_exchange *x)
{
    struct kl_api_error error;
    kl_api_fail_memory(&error, "the answer");
    reply_failed(x, &error);
}

/* Trying again would not help: a fault of ours, since all that is told is made valid first. */
static void reply_no_json(struct kl_exchange *x)
{
    struct kl_api_error error;
    kl_api_fail(&error, 500, "internal_error", NULL,
                "the answer cannot be written as JSON: a text in it is not UTF-8, or a number is "
                "not finite; please report this");
    reply_failed(x, &error);
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
    add_head(x, out, status == 304 ? NULL : &length);
    if (x->head->method != KL_HTTP_HEAD && data != NULL && evbuffer_add_buffer(out, data) != 0)
        cut(x);
    end_answer(x);
}

void kl_reply_text(struct kl_exchange *x, int status, const char *content_type, const char *text)
{
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

void kl_reply_json(struct kl_exchange *x, int status, json_t *body)
{
    /* 10 digits: measurements need no more */
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(body);
    bool short_of_memory = kl_json_was_short();
    if (text == NULL && !short_of_memory) {
        reply_no_json(x);
        return;
    }
    char *line = text != NULL && !short_of_memory ? realloc(text, strlen(text) + 2) : NULL;
    if (line != NULL)
        strcat(line, "\n");
    kl_reply_text(x, status, "application/json; charset=utf-8", line);
    free(line != NULL ? line : text);
}

void kl_reply_error(struct kl_exchange *x, const struct kl_api_error *error)
{
    if (error->retry_after != 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", error->retry_after);
        kl_reply_header(x, "Retry-After", seconds);
    }
    kl_reply_json(x, error->status, kl_api_error_json(error));
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

void kl_stream_begin(struct kl_exchange *x)
{
    x->status = 200;
    kl_reply_header(x, "Content-Type", "text/event-stream; charset=utf-8");
    kl_reply_header(x, "Cache-Control", "no-store");
    kl_reply_header(x, "X-Accel-Buffering", "no");
    x->chunked = x->head->minor >= 1;
    x->close = x->close || !x->chunked;
    x->last_write_ns = kl_now_ns();
    if (x->lacks_header)
        cut(x);
    else
        add_head(x, output_of(x), NULL);
}

static void send_chunk(struct kl_exchange *x, enum kl_status status, const struct kl_buffer *text)
{
    struct evbuffer *out = output_of(x);
    x->last_write_ns = kl_now_ns();
    if (status != KL_OK) {
        cut(x);
        return;
    }
    if (!make_room(x, text->len + MAX_CHUNK_FRAME))
        return;
    if (x->chunked)
        evbuffer_add_printf(out, "%zx\r\n", text->len);
    evbuffer_add(out, text->data, text->len);
    if (x->chunked)
        evbuffer_add(out, "\r\n", 2);
}

void kl_stream_data(struct kl_exchange *x, const char *line)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_SERVER_OUTPUT_BYTES);
    send_chunk(x, kl_sse_data(&text, line), &text);
    kl_buffer_release(&text);
}

void kl_stream_json(struct kl_exchange *x, json_t *body)
{
    char *line = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (!kl_json_was_short() && line != NULL)
        kl_stream_data(x, line);
    else
        cut(x);
    free(line);
}

void kl_stream_comment(struct kl_exchange *x, const char *text)
{
    struct kl_buffer line;
    kl_buffer_init(&line, KL_SERVER_OUTPUT_BYTES);
    send_chunk(x, kl_sse_comment(&line, text), &line);
    kl_buffer_release(&line);
}

void kl_stream_end(struct kl_exchange *x)
{
    if (x->chunked && make_room(x, MAX_CHUNK_FRAME))
        evbuffer_add(output_of(x), "0\r\n\r\n", 5);
    end_answer(x);
}

bool kl_stream_is_full(struct kl_exchange *x)
{
    bool full = kl_connection_is_full(x->connection);
    x->held_back = x->held_back || full;
    return full;
}

/* ---- what comes in --------------------------------------------------------------------------- */

/* "http://name" of "GET http://name/path", in host; "" for "GET /path". The path is what is left.
 */
static const char *split_target(const char *target, char *host, size_t size)
{
    host[0] = '\0';
    if (strncasecmp(target, "http://", 7) != 0 && strncasecmp(target, "https://", 8) != 0)
        return target;
    const char *name = strstr(target, "://") + 3;
    size_t len = strcspn(name, "/?#");
    snprintf(host, size, "%.*s", (int)len, name);
    return name[len] == '/' ? name + len : "/";
}

static enum kl_status check_host(struct kl_exchange *x, const char *named,
                                 struct kl_api_error *error)
{
    const struct sockaddr *local = (const struct sockaddr *)&x->connection->local;
    const char *hosts[] = {kl_request_header(x, "Host"), named[0] != '\0' ? named : NULL};
    for (size_t i = 0; i < 2; i++) {
        if (hosts[i] != NULL && !kl_host_allowed(&x->server->access, hosts[i], local))
            return kl_api_fail(error, 403, "host_not_allowed", "Host",
                               "this server does not answer to the name \"%.100s\"; if it is one "
                               "of its names, start it with --allow-host NAME",
                               hosts[i]);
    }
    return KL_OK;
}

/* *key: the valid one, else any that was sent, else NULL. */
static bool find_key(const struct kl_exchange *x, const char **key)
{
    const struct kl_access *access = &x->server->access;
    const char *bearer = kl_bearer_key(kl_request_header(x, "Authorization"));
    const char *plain = kl_request_header(x, "x-api-key");
    bool bearer_allowed = kl_key_allowed(access, bearer);
    bool plain_allowed = kl_key_allowed(access, plain);
    *key = bearer_allowed || plain == NULL ? bearer : plain;
    return bearer_allowed || plain_allowed;
}

bool kl_request_has_key(const struct kl_exchange *x)
{
    const char *key;
    return find_key(x, &key);
}

static enum kl_status check_key(struct kl_exchange *x, struct kl_api_error *error)
{
    const char *key;
    if (find_key(x, &key)) {
        x->cache_scope = kl_key_scope(&x->server->access, key);
        return KL_OK;
    }
    kl_reply_header(x, "WWW-Authenticate", "Bearer");
    return kl_api_fail(
        error, 401, "invalid_api_key", NULL,
        key == NULL ? "this server wants an API key; send it as \"Authorization: Bearer KEY\""
                    : "the API key is wrong");
}

/* JSON it must be. curl -d says "form" where it sends JSON, so for a client that is not a browser
 * (it sends no Origin) the types that need no preflight are let through. */
static enum kl_status check_type(struct kl_exchange *x, struct kl_api_error *error)
{
    const char *type = kl_request_header(x, "Content-Type");
    if (type == NULL || type[0] == '\0')
        return KL_OK;
    if (kl_type_is_json(type))
        return KL_OK;
    size_t n = strcspn(type, "; \t");
    bool simple = (n == 33 && strncasecmp(type, "application/x-www-form-urlencoded", n) == 0) ||
                  (n == 10 && strncasecmp(type, "text/plain", n) == 0);
    if (simple && kl_request_header(x, "Origin") == NULL)
        return KL_OK;
    return kl_api_fail(error, 415, "unsupported_media_type", "Content-Type",
                       "the body must be application/json, not %.100s", type);
}

/* Everything about a body that is known before it comes. */
static enum kl_status check_body(struct kl_exchange *x, struct kl_api_error *error)
{
    if (check_type(x, error) != KL_OK)
        return KL_ERR_INVALID;
    const char *coding = kl_request_header(x, "Content-Encoding");
    if (coding != NULL && coding[0] != '\0' && strcasecmp(coding, "identity") != 0) {
        kl_reply_header(x, "Accept-Encoding", "identity");
        return kl_api_fail(error, 415, "unsupported_encoding", "Content-Encoding",
                           "the body is compressed (Content-Encoding: %.40s), which this server "
                           "does not read; send it as it is, without Content-Encoding",
                           coding);
    }
    if (!x->head->chunked && x->head->length > KL_HTTP_MAX_BODY)
        return kl_api_fail(error, 413, "body_too_large", NULL,
                           "the body has %.40s bytes; the limit is %zu",
                           kl_request_header(x, "Content-Length"), KL_HTTP_MAX_BODY);
    return KL_OK;
}

static enum kl_status find_route(struct kl_exchange *x, const char *target,
                                 struct kl_api_error *error)
{
    const char *query = strchr(target, '?');
    x->query = query != NULL ? query + 1 : NULL;
    if (!kl_route_path(target, x->path, sizeof x->path))
        return kl_api_fail(error, 400, "invalid_request", NULL, "the path of the URL is not valid");
    x->route = kl_route_find(x->path);
    if (x->route == NULL)
        return kl_api_fail(error, 404, "not_found", NULL,
                           "there is nothing at %.200s; this server has /v1/chat/completions, "
                           "/v1/models, /chat and /health",
                           x->path);
    return KL_OK;
}

static enum kl_status check_method(struct kl_exchange *x, struct kl_api_error *error)
{
    unsigned methods = x->route->methods;
    enum kl_http_method method = x->head->method;
    unsigned asked = method == KL_HTTP_POST                            ? KL_POST
                     : method == KL_HTTP_GET || method == KL_HTTP_HEAD ? KL_GET
                                                                       : 0u;
    bool head_of_answer = method == KL_HTTP_HEAD && (x->route->flags & KL_ROUTE_ANSWERS) != 0;
    if ((asked & methods) != 0 && !head_of_answer)
        return KL_OK;

    const char *allow = methods == KL_POST                          ? "POST"
                        : (x->route->flags & KL_ROUTE_ANSWERS) != 0 ? "GET, POST"
                                                                    : "GET, HEAD";
    kl_reply_header(x, "Allow", allow);
    return kl_api_fail(error, 405, "method_not_allowed", NULL, "%s takes only %s", x->route->path,
                       allow);
}

enum kl_status kl_http_judge(struct kl_exchange *x, struct kl_api_error *error)
{
    char host[KL_HTTP_MAX_PATH];
    const char *target = split_target(x->head->target, host, sizeof host);
    if (x->head->method == KL_HTTP_OTHER)
        x->close = true; /* CONNECT, for one, is not followed by HTTP */
    enum kl_status status = check_host(x, host, error);
    if (status == KL_OK)
        status = find_route(x, target, error);
    if (status == KL_OK && (x->route->flags & KL_ROUTE_PUBLIC) == 0)
        status = kl_site_check(x->head, (x->route->methods & KL_POST) != 0, error);
    if (status == KL_OK)
        status = check_method(x, error);
    if (status == KL_OK && (x->route->flags & KL_ROUTE_OPEN) == 0)
        status = check_key(x, error);
    if (status == KL_OK && x->head->method == KL_HTTP_POST)
        status = check_body(x, error);
    return status;
}

struct kl_exchange *kl_http_begin(struct kl_connection *connection)
{
    struct kl_server *server = connection->server;
    struct kl_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->server = server;
    x->connection = connection;
    x->head = &connection->head;
    snprintf(x->id, sizeof x->id, "%016" PRIx64 "%08" PRIx64, server->id_prefix,
             ++server->n_exchanges);
    kl_buffer_init(&x->headers, MAX_REPLY_HEADERS);
    return x;
}

/* From here on the server does not stop before it is answered. */
static void begin_answer(struct kl_exchange *x)
{
    struct kl_server *server = x->server;
    x->start_ns = kl_now_ns();
    x->next = server->exchanges;
    if (x->next != NULL)
        x->next->previous = x;
    server->exchanges = x;
}

void kl_http_handle(struct kl_exchange *x)
{
    begin_answer(x);
    x->route->handle(x);
}

void kl_http_refuse(struct kl_exchange *x, const struct kl_api_error *error, bool keep)
{
    begin_answer(x);
    x->close = x->close || !keep;
    kl_reply_error(x, error);
}
