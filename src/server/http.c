#include "server/http.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/routes.h"
#include "server/server_state.h"
#include "server/sse.h"

#define MAX_PATH 1024

/* ---- life of an exchange --------------------------------------------------------------------- */

static void stop_watching(struct kl_exchange *x)
{
    if (x->watch != NULL) {
        event_free(x->watch);
        close(x->watch_fd);
        x->watch = NULL;
    }
    x->gone = NULL;
}

static void free_exchange(struct kl_exchange *x)
{
    struct kl_server *server = x->server;
    stop_watching(x);
    if (x->previous != NULL)
        x->previous->next = x->next;
    else
        server->exchanges = x->next;
    if (x->next != NULL)
        x->next->previous = x->previous;
    free(x);
    kl_server_check_stopped(server);
}

static void tell_gone(struct kl_exchange *x, const char *cause)
{
    void (*gone)(void *, const char *) = x->gone;
    void *context = x->context;
    stop_watching(x);
    if (gone != NULL)
        gone(context, cause);
}

/* evhttp closes the connection: the client left, or a time-out. When the answer was not complete,
 * evhttp has taken the request out of the connection and left it to us. */
static void on_close(struct evhttp_connection *connection, void *context)
{
    (void)connection;
    struct kl_exchange *x = context;
    tell_gone(x, "the client left or stopped reading");
    if (evhttp_request_get_connection(x->request) == NULL)
        evhttp_request_free(x->request);
    free_exchange(x);
}

/* The last byte of the answer was written; the connection waits for its next request. */
static void on_complete(struct evhttp_request *request, void *context)
{
    (void)request;
    struct kl_exchange *x = context;
    struct timeval idle = {.tv_sec = KL_HTTP_IDLE_SECONDS};
    bufferevent_set_timeouts(evhttp_connection_get_bufferevent(x->connection), &idle, &idle);
    evhttp_connection_set_closecb(x->connection, NULL, NULL);
    free_exchange(x);
}

void kl_exchange_drop(struct kl_exchange *x, const char *cause)
{
    struct evhttp_connection *connection = x->connection;
    evhttp_connection_set_closecb(connection, NULL, NULL);
    tell_gone(x, cause);
    free_exchange(x);
    evhttp_connection_free(connection); /* and the request with it */
}

void kl_exchanges_forget(struct kl_server *server)
{
    while (server->exchanges != NULL) {
        struct kl_exchange *x = server->exchanges;
        evhttp_connection_set_closecb(x->connection, NULL, NULL);
        free_exchange(x);
    }
}

/* Something happened on the socket. With unread bytes in front of it, the end of the stream can
 * not be read; poll tells it all the same. */
static void on_watch(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
        kl_exchange_drop(context, "the client left");
}

/* evhttp does not look at the socket until it has something to write, and sees an end only then.
 * So the socket is watched through a descriptor of our own: edge-triggered, which could not be
 * mixed with evhttp's own events on one descriptor; pipelined bytes then do not wake us for ever.
 * A client that closed only its sending side is taken as gone, too. */
void kl_exchange_watch(struct kl_exchange *x, void (*gone)(void *context, const char *cause),
                       void *context)
{
    x->gone = gone;
    x->context = context;
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(x->connection));
    x->watch_fd = dup(fd);
    if (x->watch_fd < 0) {
        kl_warning("request %s: its connection can not be watched: %m", x->id);
        return;
    }
    x->watch = event_new(x->server->base, x->watch_fd, EV_READ | EV_ET | EV_PERSIST, on_watch, x);
    if (x->watch == NULL || event_add(x->watch, NULL) != 0) {
        kl_warning("request %s: its connection can not be watched", x->id);
        close(x->watch_fd);
        if (x->watch != NULL)
            event_free(x->watch);
        x->watch = NULL;
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

const char *kl_request_header(const struct kl_exchange *x, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(x->request), name);
}

const char *kl_request_body(const struct kl_exchange *x, size_t *len)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(x->request);
    *len = evbuffer_get_length(body);
    const unsigned char *data = evbuffer_pullup(body, -1);
    if (data == NULL)
        *len = 0;
    return (const char *)data;
}

void kl_reply_header(struct kl_exchange *x, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(x->request), name, value);
}

static const char *reason(int status)
{
    switch (status) {
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return NULL; /* evhttp knows the others */
    }
}

static void close_afterwards(struct kl_exchange *x)
{
    evhttp_remove_header(evhttp_request_get_output_headers(x->request), "Connection");
    kl_reply_header(x, "Connection", "close");
}

static void common_headers(struct kl_exchange *x)
{
    kl_reply_header(x, "X-Request-Id", x->id);
    kl_reply_header(x, "X-Content-Type-Options", "nosniff");
    if (x->server->stopping)
        close_afterwards(x);
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

/* Sends the complete answer; data may be NULL. */
static void send_reply(struct kl_exchange *x, int status, struct evbuffer *data)
{
    x->status = status;
    x->sent = true;
    stop_watching(x);
    common_headers(x);
    log_reply(x);

    struct evbuffer *body = data;
    if (evhttp_request_get_command(x->request) == EVHTTP_REQ_HEAD && data != NULL) {
        char len[24];
        snprintf(len, sizeof len, "%zu", evbuffer_get_length(data));
        kl_reply_header(x, "Content-Length", len);
        body = NULL;
    }
    evhttp_send_reply(x->request, status, reason(status), body);
}

void kl_reply_json(struct kl_exchange *x, int status, json_t *body)
{
    struct evbuffer *data = evbuffer_new();
    /* 10 digits: measurements need no more */
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(body);
    if (text == NULL || data == NULL || evbuffer_add_printf(data, "%s\n", text) < 0) {
        kl_err("request %s: no memory for the answer", x->id);
        status = 500;
    }
    kl_reply_header(x, "Content-Type", "application/json; charset=utf-8");
    kl_reply_header(x, "Cache-Control", "no-store");
    send_reply(x, status, data);
    free(text);
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
    kl_reply_json(x, error->status, kl_api_error_json(error));
}

void kl_reply_static(struct kl_exchange *x, int status, const char *content_type,
                     const unsigned char *data, size_t len)
{
    struct evbuffer *body = NULL;
    if (data != NULL) {
        body = evbuffer_new();
        if (body == NULL || evbuffer_add_reference(body, data, len, NULL, NULL) != 0)
            status = 500;
        kl_reply_header(x, "Content-Type", content_type);
    }
    send_reply(x, status, body);
    if (body != NULL)
        evbuffer_free(body);
}

void kl_stream_begin(struct kl_exchange *x)
{
    struct evkeyvalq *in = evhttp_request_get_input_headers(x->request);
    x->status = 200;
    kl_reply_header(x, "Content-Type", "text/event-stream; charset=utf-8");
    kl_reply_header(x, "Cache-Control", "no-store");
    kl_reply_header(x, "X-Accel-Buffering", "no");
    if (x->request->major == 1 && x->request->minor == 0) {
        /* HTTP/1.0 has no chunks: the end of the connection ends the stream */
        evhttp_remove_header(in, "Connection");
        close_afterwards(x);
    }
    common_headers(x);
    x->last_write_ns = kl_now_ns();
    evhttp_send_reply_start(x->request, 200, "OK");
}

static void send_chunk(struct kl_exchange *x, enum kl_status status, const struct kl_buffer *text)
{
    struct evbuffer *data = evbuffer_new();
    if (status != KL_OK || data == NULL || evbuffer_add(data, text->data, text->len) != 0)
        kl_err("request %s: no memory for a piece of the stream", x->id);
    else
        evhttp_send_reply_chunk(x->request, data);
    if (data != NULL)
        evbuffer_free(data);
    x->last_write_ns = kl_now_ns();
}

void kl_stream_data(struct kl_exchange *x, const char *line)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_HTTP_MAX_PENDING);
    send_chunk(x, kl_sse_data(&text, line), &text);
    kl_buffer_release(&text);
}

void kl_stream_json(struct kl_exchange *x, json_t *body)
{
    char *line = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (line != NULL)
        kl_stream_data(x, line);
    else
        kl_err("request %s: no memory for a piece of the stream", x->id);
    free(line);
}

void kl_stream_comment(struct kl_exchange *x, const char *text)
{
    struct kl_buffer line;
    kl_buffer_init(&line, KL_HTTP_MAX_PENDING);
    send_chunk(x, kl_sse_comment(&line, text), &line);
    kl_buffer_release(&line);
}

void kl_stream_end(struct kl_exchange *x)
{
    x->sent = true;
    stop_watching(x);
    evhttp_send_reply_end(x->request);
}

bool kl_stream_is_stuck(const struct kl_exchange *x)
{
    struct bufferevent *b = evhttp_connection_get_bufferevent(x->connection);
    return evbuffer_get_length(bufferevent_get_output(b)) > KL_HTTP_MAX_PENDING;
}

/* ---- what comes in --------------------------------------------------------------------------- */

/* Whether the request is one message, the same for everybody who reads it: a proxy in front that
 * saw other borders than we do would let one client speak in another's name. The connection is
 * closed after such a request, for where the next one begins is unknown. */
static enum kl_status check_framing(struct kl_exchange *x, struct kl_api_error *error)
{
    struct evkeyvalq *headers = evhttp_request_get_input_headers(x->request);
    size_t size = strlen(evhttp_request_get_uri(x->request));
    unsigned n_host = 0, n_length = 0, n_encoding = 0;
    bool blank = false, chunked = false;

    struct evkeyval *h;
    TAILQ_FOREACH(h, headers, next)
    {
        size += strlen(h->key) + strlen(h->value) + 4;
        blank = blank || h->key[0] == '\0' || strpbrk(h->key, " \t") != NULL;
        n_host += evutil_ascii_strcasecmp(h->key, "Host") == 0;
        n_length += evutil_ascii_strcasecmp(h->key, "Content-Length") == 0;
        if (evutil_ascii_strcasecmp(h->key, "Transfer-Encoding") == 0) {
            n_encoding++;
            chunked = evutil_ascii_strcasecmp(h->value, "chunked") == 0;
        }
    }
    if (size > KL_HTTP_MAX_HEADER)
        return kl_api_fail(error, 431, "header_too_large", NULL,
                           "the request's headers have %zu bytes; the limit is %zu", size,
                           KL_HTTP_MAX_HEADER);
    if (n_encoding > 0 && !chunked)
        return kl_api_fail(error, 501, "unsupported_encoding", NULL,
                           "Transfer-Encoding: only chunked is understood");
    if (blank || n_length > 1 || n_encoding > 1 || (n_length > 0 && n_encoding > 0))
        return kl_api_fail(error, 400, "invalid_request", NULL,
                           "the request's headers leave its length in doubt: send Content-Length "
                           "or Transfer-Encoding, once, and no blanks in names");
    bool needs_host = x->request->major > 1 || x->request->minor >= 1;
    if (n_host > 1 || (n_host == 0 && needs_host))
        return kl_api_fail(error, 400, "invalid_request", "Host",
                           "the request has %s Host header; HTTP/1.1 wants exactly one",
                           n_host == 0 ? "no" : "more than one");
    return KL_OK;
}

static enum kl_status check_host(struct kl_exchange *x, struct kl_api_error *error)
{
    struct sockaddr_storage local = {0};
    socklen_t len = sizeof local;
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(x->connection));
    getsockname(fd, (struct sockaddr *)&local, &len);

    /* "GET http://name/path" names a host, too; "GET //path" does not */
    const char *target = evhttp_request_get_uri(x->request);
    const char *named =
        target[0] == '/' ? NULL : evhttp_uri_get_host(evhttp_request_get_evhttp_uri(x->request));
    const char *hosts[] = {kl_request_header(x, "Host"), named};
    for (size_t i = 0; i < 2; i++) {
        if (hosts[i] != NULL &&
            !kl_host_allowed(&x->server->access, hosts[i], (const struct sockaddr *)&local))
            return kl_api_fail(error, 403, "host_not_allowed", "Host",
                               "this server does not answer to the name \"%.100s\"; if it is one "
                               "of its names, start it with --allow-host NAME",
                               hosts[i]);
    }
    return KL_OK;
}

/* Another page in the visitor's browser must not use this server through him. */
static enum kl_status check_site(struct kl_exchange *x, struct kl_api_error *error)
{
    const char *origin = kl_request_header(x, "Origin");
    const char *host = kl_request_header(x, "Host");
    if (origin != NULL && (host == NULL || !kl_origin_is_own(origin, host)))
        return kl_api_fail(error, 403, "origin_not_allowed", "Origin",
                           "requests from web pages of \"%.100s\" are not accepted, only from this "
                           "server's own page; a proxy in front must pass the Host header on",
                           origin);
    if (!kl_fetch_site_allowed(kl_request_header(x, "Sec-Fetch-Site")))
        return kl_api_fail(error, 403, "origin_not_allowed", "Sec-Fetch-Site",
                           "requests from other web sites are not accepted, only from this "
                           "server's own page");
    return KL_OK;
}

static enum kl_status check_key(struct kl_exchange *x, struct kl_api_error *error)
{
    const struct kl_access *access = &x->server->access;
    const char *bearer = kl_bearer_key(kl_request_header(x, "Authorization"));
    const char *plain = kl_request_header(x, "x-api-key");
    bool bearer_allowed = kl_key_allowed(access, bearer);
    bool plain_allowed = kl_key_allowed(access, plain);
    x->cache_scope = kl_key_scope(access, bearer_allowed ? bearer : plain);
    if (bearer_allowed || plain_allowed)
        return KL_OK;
    kl_reply_header(x, "WWW-Authenticate", "Bearer");
    return kl_api_fail(
        error, 401, "invalid_api_key", NULL,
        bearer == NULL && plain == NULL
            ? "this server wants an API key; send it as \"Authorization: Bearer KEY\""
            : "the API key is wrong");
}

/* JSON it must be. curl -d says "form" where it sends JSON, so for a client that is not a browser
 * (it sends no Origin) the types that need no preflight are let through. */
static enum kl_status check_body(struct kl_exchange *x, struct kl_api_error *error)
{
    size_t len = evbuffer_get_length(evhttp_request_get_input_buffer(x->request));
    if (len > KL_HTTP_MAX_BODY)
        return kl_api_fail(error, 413, "body_too_large", NULL,
                           "the body has %zu bytes; the limit is %zu", len, KL_HTTP_MAX_BODY);

    const char *type = kl_request_header(x, "Content-Type");
    if (type == NULL || type[0] == '\0')
        return KL_OK;
    size_t n = strcspn(type, "; \t");
    if (n == 16 && evutil_ascii_strncasecmp(type, "application/json", n) == 0)
        return KL_OK;
    bool simple =
        (n == 33 && evutil_ascii_strncasecmp(type, "application/x-www-form-urlencoded", n) == 0) ||
        (n == 10 && evutil_ascii_strncasecmp(type, "text/plain", n) == 0);
    if (simple && kl_request_header(x, "Origin") == NULL)
        return KL_OK;
    return kl_api_fail(error, 415, "unsupported_media_type", "Content-Type",
                       "the body must be application/json, not %.100s", type);
}

static enum kl_status find_route(struct kl_exchange *x, char *path, struct kl_api_error *error)
{
    const char *target = evhttp_request_get_uri(x->request);
    const char *raw =
        target[0] == '/' ? target : evhttp_uri_get_path(evhttp_request_get_evhttp_uri(x->request));
    if (raw == NULL || !kl_route_path(raw, path, MAX_PATH))
        return kl_api_fail(error, 400, "invalid_request", NULL, "the path of the URL is not valid");
    x->path = path;
    x->route = kl_route_find(path);
    if (x->route == NULL)
        return kl_api_fail(error, 404, "not_found", NULL,
                           "there is nothing at %.200s; this server has /v1/chat/completions, "
                           "/v1/models, /chat and /health",
                           path);
    return KL_OK;
}

static enum kl_status check_method(struct kl_exchange *x, struct kl_api_error *error)
{
    unsigned methods = x->route->methods;
    enum evhttp_cmd_type command = evhttp_request_get_command(x->request);
    unsigned asked = command == EVHTTP_REQ_POST                                ? KL_POST
                     : command == EVHTTP_REQ_GET || command == EVHTTP_REQ_HEAD ? KL_GET
                                                                               : 0u;
    bool head_of_answer = command == EVHTTP_REQ_HEAD && (x->route->flags & KL_ROUTE_ANSWERS) != 0;
    if ((asked & methods) != 0 && !head_of_answer)
        return KL_OK;

    const char *allow = methods == KL_POST                          ? "POST"
                        : (x->route->flags & KL_ROUTE_ANSWERS) != 0 ? "GET, POST"
                                                                    : "GET, HEAD";
    kl_reply_header(x, "Allow", allow);
    return kl_api_fail(error, 405, "method_not_allowed", NULL, "%s takes only %s", x->route->path,
                       allow);
}

static enum kl_status check_request(struct kl_exchange *x, char *path, struct kl_api_error *error)
{
    enum evhttp_cmd_type command = evhttp_request_get_command(x->request);
    enum kl_status status = check_framing(x, error);
    if (status != KL_OK ||
        (command != EVHTTP_REQ_GET && command != EVHTTP_REQ_POST && command != EVHTTP_REQ_HEAD)) {
        /* a body of these was perhaps not read; it must not become the next request */
        close_afterwards(x);
    }
    if (status == KL_OK)
        status = check_host(x, error);
    if (status == KL_OK)
        status = find_route(x, path, error);
    if (status == KL_OK && (x->route->flags & KL_ROUTE_PUBLIC) == 0)
        status = check_site(x, error);
    if (status == KL_OK)
        status = check_method(x, error);
    if (status == KL_OK && (x->route->flags & KL_ROUTE_OPEN) == 0)
        status = check_key(x, error);
    if (status == KL_OK && command == EVHTTP_REQ_POST)
        status = check_body(x, error);
    return status;
}

void kl_http_handle(struct evhttp_request *request, void *context)
{
    struct kl_server *server = context;
    struct evhttp_connection *connection = evhttp_request_get_connection(request);
    struct kl_exchange *x = calloc(1, sizeof *x);
    if (x == NULL) {
        kl_err("no memory for a request");
        evhttp_connection_free(connection);
        return;
    }
    *x = (struct kl_exchange){.server = server,
                              .request = request,
                              .connection = connection,
                              .start_ns = kl_now_ns(),
                              .next = server->exchanges};
    snprintf(x->id, sizeof x->id, "%016" PRIx64 "%08" PRIx64, server->id_prefix,
             ++server->n_exchanges);
    if (server->exchanges != NULL)
        server->exchanges->previous = x;
    server->exchanges = x;

    evhttp_connection_set_closecb(connection, on_close, x);
    evhttp_request_set_on_complete_cb(request, on_complete, x);
    /* evhttp's time-out for reading would end a long answer; what is to be written must get on */
    struct timeval stall = {.tv_sec = KL_HTTP_STALL_SECONDS};
    bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), NULL, &stall);

    struct kl_api_error error;
    char path[MAX_PATH];
    if (check_request(x, path, &error) != KL_OK)
        kl_reply_error(x, &error);
    else
        x->route->handle(x);
}
