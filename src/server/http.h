/*
 * One HTTP exchange: a request that came in, and the one answer it gets.
 *
 * An exchange begins when evhttp has the whole request and ends when the answer has left or the
 * connection is gone. Handlers either answer at once (kl_reply_*), or keep the exchange, ask to be
 * told when the client leaves (kl_exchange_watch) and answer later, in one piece or as a stream.
 * Everything runs on the server's one thread. The only file that touches evhttp's connections.
 */
#ifndef KL_SERVER_HTTP_H
#define KL_SERVER_HTTP_H

#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/api_error.h"
#include "server/server.h"

struct kl_server;
struct kl_route;

/* A body: long conversations are some 100 KB; nginx has the same limit. */
#define KL_HTTP_MAX_BODY ((size_t)1 << 20)
/* All header lines together; browsers with many cookies stay under 8 KiB. */
#define KL_HTTP_MAX_HEADER ((size_t)16 << 10)
/* evhttp answers these itself, in HTML (it has no hook for that), and its memory per connection is
 * bounded by them. Between ours and these the answer is our JSON. */
#define KL_HTTP_HARD_MAX_BODY   (4 * KL_HTTP_MAX_BODY)
#define KL_HTTP_HARD_MAX_HEADER (4 * KL_HTTP_MAX_HEADER)
/* Output waiting for a client that does not read. */
#define KL_HTTP_MAX_PENDING KL_SERVER_OUTPUT_BYTES
/* A connection without a request, and a request that does not get on. */
#define KL_HTTP_IDLE_SECONDS 60
/* A client that reads nothing at all while there is something to read. */
#define KL_HTTP_STALL_SECONDS 30

struct kl_exchange {
    struct kl_server *server;
    struct evhttp_request *request;
    struct evhttp_connection *connection;
    const struct kl_route *route;
    const char *path; /* decoded, normalised: see kl_route_path */
    char id[33];      /* unique, for logs and X-Request-Id */
    uint64_t start_ns;
    uint64_t cache_scope;   /* of the key it came with: see kl_key_scope */
    int status;             /* what was answered; 0 before */
    bool sent;              /* the answer is complete; only its last bytes may be on their way */
    uint64_t last_write_ns; /* of a stream */

    void (*gone)(void *context, const char *cause);
    void *context;
    int watch_fd;
    struct event *watch;
    struct kl_exchange *previous, *next;
};

/* evhttp's callback for every request. */
void kl_http_handle(struct evhttp_request *request, void *server);

/* A request header, or NULL. */
const char *kl_request_header(const struct kl_exchange *x, const char *name);

/* The body, in one piece; valid until the answer. */
const char *kl_request_body(const struct kl_exchange *x, size_t *len);

/* Headers of the answer; before any of the following. */
void kl_reply_header(struct kl_exchange *x, const char *name, const char *value);

/* Whole answers. A body is left out for HEAD and 304, its length is told. body is stolen (NULL: no
 * memory, a bare 500); data must live as long as the program. */
void kl_reply_json(struct kl_exchange *x, int status, json_t *body);
void kl_reply_error(struct kl_exchange *x, const struct kl_api_error *error);
void kl_reply_static(struct kl_exchange *x, int status, const char *content_type,
                     const unsigned char *data, size_t len);

/* From now on the caller is told, once, when the connection ends before the answer was complete:
 * the client left, or it does not read. The exchange is invalid after that call. */
void kl_exchange_watch(struct kl_exchange *x, void (*gone)(void *context, const char *cause),
                       void *context);

/* An event stream: headers at once, then events, each as its own chunk, then the end. */
void kl_stream_begin(struct kl_exchange *x);
void kl_stream_data(struct kl_exchange *x, const char *line); /* one line; see sse.h */
void kl_stream_json(struct kl_exchange *x, json_t *body);     /* stolen; compact, as data */
void kl_stream_comment(struct kl_exchange *x, const char *text);
void kl_stream_end(struct kl_exchange *x);

/* Does more wait for the client than KL_HTTP_MAX_PENDING? */
bool kl_stream_is_stuck(const struct kl_exchange *x);

/* Cuts the connection; the watcher is told. */
void kl_exchange_drop(struct kl_exchange *x, const char *cause);

/* What remains of the exchanges when the server closes: dropped without telling. */
void kl_exchanges_forget(struct kl_server *server);

#endif
