#include "http/connection.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/error_answer.h"
#include "http/event_memory.h"
#include "http/holders.h"
#include "http/http_state.h"

/* While the server drains: for a request that is already on its way on a new connection. */
#define DRAIN_SECONDS 1
/* The most that a client may send ahead while its answer is made: the size of most requests. */
#define MAX_AHEAD ((size_t)16 << 10)

const char kl_cause_slow_reader[] = "the client reads too slowly";

static void refuse(struct kl_connection *c, const struct kl_api_error *error);
static void recount(struct kl_connection *c);

/* Closes it with a reset: input that still arrives and output that was not taken are dropped. */
static void cut(struct kl_connection *c, const char *cause)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    kl_connection_close(c, cause);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static unsigned stage_seconds(const struct kl_connection *c)
{
    const struct kl_http_options *o = &c->http->options;
    switch (c->stage) {
    case KL_CONNECTION_IDLE:
        return c->http->draining && c->n_requests == 0 ? DRAIN_SECONDS : o->idle_seconds;
    case KL_CONNECTION_HEAD:
        return o->header_seconds;
    case KL_CONNECTION_BODY:
        return o->body_seconds;
    case KL_CONNECTION_LINGERING:
        return KL_LINGER_SECONDS;
    default:
        return 0; /* these have the reader's deadline */
    }
}

/* The deadline of a stage counts from its beginning, whatever arrives meanwhile. */
static void enter(struct kl_connection *c, enum kl_connection_stage stage)
{
    c->stage = stage;
    c->stage_ns = kl_now_ns();
    if (stage == KL_CONNECTION_HEAD)
        c->request_ns = c->stage_ns;
    if (stage != KL_CONNECTION_ANSWERING && !c->left)
        bufferevent_enable(c->bev, EV_READ); /* see on_read */
    const struct timeval time = {.tv_sec = stage_seconds(c)};
    evtimer_del(&c->deadline);
    if (time.tv_sec > 0)
        evtimer_add(&c->deadline, &time);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_connection *c = context;
    struct kl_api_error error;
    if (c->stage != KL_CONNECTION_HEAD && c->stage != KL_CONNECTION_BODY) {
        kl_connection_close(c, "nothing was received for too long");
        return;
    }
    c->http->counts.requests_late++;
    kl_api_fail(&error, 408, "request_timeout", NULL,
                "the request's %s was not complete after %u s",
                c->stage == KL_CONNECTION_HEAD ? "head" : "body", stage_seconds(c));
    refuse(c, &error);
}

static void start_reader_time(struct kl_connection *c)
{
    const struct timeval time = {.tv_sec = c->http->options.reader_seconds};
    size_t waiting = evbuffer_get_length(bufferevent_get_output(c->bev));
    c->n_to_take = c->n_taken + (waiting < KL_READER_BYTES ? waiting : KL_READER_BYTES);
    evtimer_add(&c->reader, &time);
}

static void on_reader_deadline(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_connection *c = context;
    if (c->n_taken >= c->n_to_take) {
        start_reader_time(c);
        return;
    }
    c->http->counts.readers_late++;
    cut(c, kl_cause_slow_reader);
}

static void on_output_changed(struct evbuffer *output, const struct evbuffer_cb_info *info,
                              void *context)
{
    struct kl_connection *c = context;
    c->n_taken += info->n_deleted;
    if (info->n_deleted > 0 || info->orig_size == 0)
        c->progress_ns = kl_now_ns();
    recount(c);
    if (evbuffer_get_length(output) == 0)
        evtimer_del(&c->reader);
    else if (!evtimer_pending(&c->reader, NULL))
        start_reader_time(c);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Files of the page are written from the program's own data, which costs no memory. They are the
 * end of the output. */
static size_t output_bytes(const struct kl_connection *c)
{
    size_t waiting = evbuffer_get_length(bufferevent_get_output(c->bev));
    return waiting > c->n_static ? waiting - c->n_static : 0;
}

/* Input counts twice: libevent reads into blocks of up to twice the size. */
static void recount(struct kl_connection *c)
{
    struct kl_http *http = c->http;
    kl_holders_count(http, c,
                     2 * evbuffer_get_length(bufferevent_get_input(c->bev)) + c->head.size +
                         c->body.allocated + output_bytes(c) + c->n_kept);
    if (c->holder->held > kl_holders_limit(http) || http->holders.held > http->options.held_bytes)
        event_active(http->make_room, 0, 0);
}

void kl_connection_keep(struct kl_connection *c, size_t bytes)
{
    c->n_kept = bytes;
    recount(c);
}

static void end_for_room(struct kl_connection *c, bool of_holder)
{
    struct kl_api_error error;
    c->http->counts.held_most++;
    if (c->stage != KL_CONNECTION_HEAD && c->stage != KL_CONNECTION_BODY) {
        cut(c, "it held the most memory, which others needed");
        return;
    }
    kl_api_fail(&error, 503, "busy", NULL,
                of_holder ? "the requests and answers that are on their way for this %s fill the "
                            "%zu MiB that one may have, and this request had the most of it; try "
                            "again in a moment"
                          : "the requests and answers that are on their way%.0s fill this server's "
                            "%zu MiB for them, and this request had the most of it; try again in a "
                            "moment",
                c->holder->scope != 0 ? "API key" : "address",
                (of_holder ? kl_holders_limit(c->http) : c->http->options.held_bytes) >> 20);
    error.retry_after = 1;
    refuse(c, &error);
}

void kl_connections_make_room(struct kl_http *http)
{
    struct kl_connection *c;
    bool of_holder;
    while ((c = kl_holders_find_largest(http, &of_holder)) != NULL)
        end_for_room(c, of_holder);
}

/* ---- input ----------------------------------------------------------------------------------- */

static void release_request(struct kl_connection *c)
{
    kl_http_head_release(&c->head);
    kl_buffer_release(&c->body);
    c->chunks = (struct kl_http_chunks){0};
    c->scanned = 0;
    c->n_kept = 0;
}

/* Returns KL_OK without a head in c->head while it is not complete. */
static enum kl_status read_head(struct kl_connection *c, struct evbuffer *input,
                                struct kl_api_error *error)
{
    size_t len = evbuffer_get_length(input), end;
    if (len > KL_HTTP_MAX_HEADER)
        len = KL_HTTP_MAX_HEADER;
    const char *data = (const char *)evbuffer_pullup(input, (ev_ssize_t)len);
    if (data == NULL)
        return kl_api_fail_memory(error, "the request");
    enum kl_status status = kl_http_head_find_end(data, len, &c->scanned, &end, error);
    if (status != KL_OK || end == 0)
        return status;
    status = kl_http_head_parse(&c->head, data, end, error);
    evbuffer_drain(input, end);
    kl_buffer_init(&c->body, KL_HTTP_MAX_BODY);
    return status;
}

static enum kl_status read_body(struct kl_connection *c, struct evbuffer *input, bool *complete,
                                struct kl_api_error *error)
{
    enum kl_status status = KL_OK;
    *complete = !c->head.chunked && c->head.length == 0;
    while (!*complete && evbuffer_get_length(input) > 0 && status == KL_OK) {
        size_t len = evbuffer_get_contiguous_space(input), used = len;
        const char *data = (const char *)evbuffer_pullup(input, (ev_ssize_t)len);
        if (c->head.chunked) {
            status = kl_http_chunks_decode(&c->chunks, data, len, &used, &c->body, error);
            *complete = c->chunks.done;
        } else {
            if (used > c->head.length - c->body.len)
                used = (size_t)c->head.length - c->body.len;
            if (kl_buffer_append(&c->body, data, used) != KL_OK)
                status = kl_api_fail_memory(error, "the request's body");
            *complete = c->body.len == c->head.length;
        }
        if (status == KL_OK)
            evbuffer_drain(input, used);
    }
    return status;
}

/* The request is complete, or is refused with error. Only a handler that keeps the exchange needs
 * the body; it takes the body when it has read it. */
static void hand_over(struct kl_connection *c, const struct kl_api_error *error, bool keep)
{
    enter(c, KL_CONNECTION_ANSWERING);
    c->n_requests++;
    if (error != NULL)
        c->http->connection_events->refuse(c->exchange, error, keep);
    else
        c->http->connection_events->handle(c->exchange);
    if (c->exchange->events == NULL)
        kl_buffer_release(&c->body);
}

void kl_connection_take_body(struct kl_connection *c, struct kl_buffer *body)
{
    *body = c->body;
    c->body = (struct kl_buffer){.cap = body->cap};
    recount(c);
}

static enum kl_status send_continue(struct kl_connection *c, struct kl_api_error *error)
{
    struct evbuffer *output = bufferevent_get_output(c->bev);
    if (evbuffer_add_printf(output, "HTTP/1.1 100 Continue\r\n\r\n") < 0)
        return kl_api_fail_memory(error, "the request");
    return KL_OK;
}

/* The head is complete: the request is accepted or refused. A body that is not wanted is skipped if
 * all of it has arrived; otherwise the connection ends with the answer. */
static enum kl_status begin_request(struct kl_connection *c, struct evbuffer *input,
                                    struct kl_api_error *error)
{
    enter(c, KL_CONNECTION_BODY);
    c->exchange = c->http->connection_events->begin(c);
    if (c->exchange == NULL)
        return kl_api_fail_memory(error, "the request");
    bool accepted = c->http->connection_events->judge(c->exchange, error) == KL_OK,
         complete = false;
    if (!kl_holders_join(c->http, c, accepted ? c->exchange->cache_scope : 0))
        return kl_api_fail_memory(error, "the request");
    if (accepted && kl_http_takes_body(c->head.method)) {
        bool waits = c->head.expects_continue && (c->head.chunked || c->head.length > 0) &&
                     evbuffer_get_length(input) == 0;
        return waits ? send_continue(c, error) : KL_OK;
    }
    struct kl_api_error ignored;
    bool keep = read_body(c, input, &complete, &ignored) == KL_OK && complete;
    c->exchange->close = c->exchange->close || !keep;
    hand_over(c, accepted ? NULL : error, keep);
    return KL_OK;
}

/* Processes the input that has been received. */
static void read_request(struct kl_connection *c)
{
    struct evbuffer *input = bufferevent_get_input(c->bev);
    struct kl_api_error error;
    enum kl_status status = KL_OK;
    bool complete = false;
    if (c->stage == KL_CONNECTION_IDLE) {
        /* RFC 9112, 2.2: some clients end a body with an empty line; it may arrive in pieces */
        char blank[2] = "";
        while (evbuffer_copyout(input, blank, 2) == 2 && memcmp(blank, "\r\n", 2) == 0)
            evbuffer_drain(input, 2);
        size_t len = evbuffer_get_length(input);
        if (len > 1 || (len == 1 && blank[0] != '\r'))
            enter(c, KL_CONNECTION_HEAD);
    }
    if (c->stage == KL_CONNECTION_HEAD) {
        status = read_head(c, input, &error);
        if (status == KL_OK && c->head.text != NULL)
            status = begin_request(c, input, &error);
    }
    if (c->stage == KL_CONNECTION_BODY && status == KL_OK)
        status = read_body(c, input, &complete, &error);
    if (status != KL_OK)
        refuse(c, &error);
    else if (complete)
        hand_over(c, NULL, true);
    recount(c);
}

static void on_read(struct bufferevent *bev, void *context)
{
    struct kl_connection *c = context;
    struct evbuffer *input = bufferevent_get_input(bev);
    size_t len = evbuffer_get_length(input);
    switch (c->stage) {
    case KL_CONNECTION_ANSWERING:
        recount(c);
        if (c->exchange->sent)
            bufferevent_disable(bev, EV_READ); /* until its answer is taken */
        else if (len > MAX_AHEAD)
            cut(c, "the client sends too much ahead");
        return;
    case KL_CONNECTION_LAST:
    case KL_CONNECTION_LINGERING:
        evbuffer_drain(input, len);
        c->n_lingered += len;
        if (c->n_lingered > KL_LINGER_BYTES)
            cut(c, "the client does not stop sending");
        return;
    default:
        c->progress_ns = kl_now_ns();
        read_request(c);
    }
}

/* ---- output ---------------------------------------------------------------------------------- */

static void linger(struct kl_connection *c)
{
    if (c->left) {
        kl_connection_close(c, NULL);
        return;
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    enter(c, KL_CONNECTION_LINGERING);
}

/* The client has taken all output. */
static void on_written(struct bufferevent *bev, void *context)
{
    (void)bev;
    struct kl_connection *c = context;
    struct kl_exchange *x = c->exchange;
    if (x != NULL && !x->sent) {
        c->http->connection_events->drained(x); /* the connection may be gone now */
        return;
    }
    if (c->stage == KL_CONNECTION_LAST) {
        c->exchange = NULL;
        if (x != NULL)
            c->http->connection_events->finished(x);
        release_request(c);
        recount(c);
        linger(c);
    } else if (c->stage == KL_CONNECTION_ANSWERING) {
        c->exchange = NULL;
        c->n_static = 0;
        release_request(c);
        enter(c, KL_CONNECTION_IDLE);
        c->http->connection_events->finished(x);
        read_request(c); /* input that arrived meanwhile */
    }
}

/* Nothing more will be written for this request. Without output there is no write event that
 * reports its end. */
static void expect_written(struct kl_connection *c)
{
    if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
        bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

void kl_connection_answered(struct kl_connection *c, bool keep)
{
    c->stage_ns = kl_now_ns();
    if (!keep || c->left)
        enter(c, KL_CONNECTION_LAST);
    expect_written(c);
}

bool kl_connection_is_full(const struct kl_connection *c)
{
    size_t waiting = evbuffer_get_length(bufferevent_get_output(c->bev));
    return waiting > KL_HTTP_OUTPUT_BYTES ||
           (waiting > KL_HTTP_MIN_OUTPUT_BYTES && kl_holders_are_tight(c->http, c));
}

/* Answers with an error while the request is incomplete, and ends the connection. */
static void refuse(struct kl_connection *c, const struct kl_api_error *error)
{
    struct evbuffer *input = bufferevent_get_input(c->bev);
    kl_debug("a connection is ended: %s", error->text);
    if (c->exchange != NULL) {
        c->http->connection_events->refuse(c->exchange, error, false);
        kl_buffer_release(&c->body);
    } else {
        kl_error_answer_write(bufferevent_get_output(c->bev), error, KL_ERRORS_OPENAI);
        release_request(c);
        enter(c, KL_CONNECTION_LAST);
        expect_written(c);
    }
    evbuffer_drain(input, evbuffer_get_length(input));
    recount(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* The client closed its sending side, or the connection broke. A client that closed only its
 * sending side may still take its last answer. */
static void on_event(struct bufferevent *bev, short what, void *context)
{
    struct kl_connection *c = context;
    bool answered = c->stage == KL_CONNECTION_LAST || (c->exchange != NULL && c->exchange->sent);
    if ((what & BEV_EVENT_EOF) == 0 || !answered) {
        kl_connection_close(c, "the client left");
        return;
    }
    c->left = true;
    bufferevent_disable(bev, EV_READ);
    if (c->stage == KL_CONNECTION_ANSWERING)
        enter(c, KL_CONNECTION_LAST);
}

void kl_connection_close(struct kl_connection *c, const char *cause)
{
    struct kl_http *http = c->http;
    struct kl_exchange *x = c->exchange;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        http->connections = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    else
        http->oldest = c->previous;
    evtimer_del(&c->deadline);
    evtimer_del(&c->reader);
    evbuffer_remove_cb(bufferevent_get_output(c->bev), on_output_changed, c);
    c->exchange = NULL;
    if (x != NULL)
        c->http->connection_events->lost(x, cause);
    kl_holders_leave(http, c);
    bufferevent_free(c->bev); /* and the socket */
    release_request(c);
    free(c);
    kl_connections_check_idle(http);
}

static struct kl_connection *new_connection(struct kl_http *http, int fd)
{
    struct kl_connection *c = calloc(1, sizeof *c);
    kl_event_was_short();
    struct bufferevent *bev = bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (c == NULL || bev == NULL || kl_event_was_short() ||
        evbuffer_add_cb(bufferevent_get_output(bev), on_output_changed, c) == NULL) {
        free(c);
        if (bev != NULL)
            bufferevent_free(bev);
        else
            close(fd);
        return NULL;
    }
    c->http = http;
    c->bev = bev;
    evtimer_assign(&c->deadline, http->base, on_deadline, c);
    evtimer_assign(&c->reader, http->base, on_reader_deadline, c);
    bufferevent_setcb(bev, on_read, on_written, on_event, c);
    return c;
}

bool kl_connection_open(struct kl_http *http, int fd, const struct in6_addr *address,
                        const struct kl_api_error *refusal)
{
    struct kl_connection *c = new_connection(http, fd);
    if (c == NULL)
        return false;
    socklen_t len = sizeof c->local;
    getsockname(fd, (struct sockaddr *)&c->local, &len);
    c->peer = *address;
    c->refused = refusal != NULL;
    c->progress_ns = kl_now_ns();
    if (!kl_holders_join(http, c, 0)) {
        evbuffer_remove_cb(bufferevent_get_output(c->bev), on_output_changed, c);
        bufferevent_free(c->bev);
        free(c);
        return false;
    }
    c->next = http->connections;
    if (c->next != NULL)
        c->next->previous = c;
    else
        http->oldest = c;
    http->connections = c;
    if (refusal != NULL)
        refuse(c, refusal);
    else
        enter(c, KL_CONNECTION_IDLE);
    if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) == 0)
        return true;
    kl_connection_close(c, NULL);
    return false;
}

void kl_connections_drain(struct kl_http *http)
{
    for (struct kl_connection *c = http->connections, *next; c != NULL; c = next) {
        next = c->next;
        if (c->stage != KL_CONNECTION_IDLE)
            continue;
        if (c->n_requests == 0)
            enter(c, KL_CONNECTION_IDLE);
        else if (http->n_handed_over > 0)
            linger(c);
    }
}

/* Whether a connection that was there before has yet to send its first request. */
static bool expects_request(const struct kl_http *http)
{
    for (const struct kl_connection *c = http->connections; c != NULL; c = c->next) {
        if (c->stage <= KL_CONNECTION_BODY && c->n_requests == 0)
            return true;
    }
    return false;
}

void kl_connections_check_idle(struct kl_http *http)
{
    if (http->draining && http->exchanges == NULL &&
        !(http->n_handed_over > 0 && expects_request(http)))
        http->idle(http->application);
}

void kl_connections_close(struct kl_http *http)
{
    while (http->connections != NULL)
        kl_connection_close(http->connections, NULL);
}
