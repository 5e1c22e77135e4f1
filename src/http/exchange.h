/*
 * One HTTP exchange: a request that came in, and the one answer it gets.
 *
 * An exchange begins when a connection has the head of a request (connection.h), which decides what
 * becomes of it: kl_http_judge looks at host, site, route, method, key and what is said of the
 * body, so that a body that is not wanted is not read. It ends when the answer has left or the
 * connection is gone. Handlers either answer at once (kl_reply_*), or keep
 * the exchange, ask to be told when the client leaves (kl_exchange_watch) and answer later, in one
 * piece or as a stream. Everything runs on the server's one thread.
 */
#ifndef KL_HTTP_EXCHANGE_H
#define KL_HTTP_EXCHANGE_H

#include <event2/buffer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "http/api_error.h"
#include "http/http_message.h"
#include "server/server.h"

struct kl_server;
struct kl_route;
struct kl_connection;

/* The path of a URL and, in "GET http://host/path", the host. */
#define KL_HTTP_MAX_PATH 1024

struct kl_exchange {
    struct kl_server *server;
    struct kl_connection *connection;
    const struct kl_http_head *head;
    const struct kl_route *route;
    char path[KL_HTTP_MAX_PATH]; /* decoded, normalised: see kl_route_path */
    const char *query;           /* of the URL, as sent; NULL: none */
    char id[33];                 /* unique, for logs and X-Request-Id */
    uint64_t start_ns;           /* when the request was complete */
    uint64_t cache_scope;        /* of the key that let it in: see kl_key_scope; 0: none did */
    int status;                  /* what was answered; 0 before */
    struct kl_buffer headers;    /* of the answer */
    bool lacks_header;           /* for which there was no memory: the answer is not to be sent */
    bool close;                  /* the connection ends with this answer */
    bool chunked;                /* a stream in HTTP/1.1 */
    bool sent;                   /* the answer is complete; its last bytes may be on their way */
    bool held_back;              /* more was there than the client takes */
    uint64_t last_write_ns;      /* of a stream */

    void (*gone)(void *context, const char *cause);
    void *context;
    struct kl_exchange *previous, *next;
};

/* From the connection. A head is there: NULL when there is no memory to begin with it. */
struct kl_exchange *kl_http_begin(struct kl_connection *connection);
/* What can be said of the request without its body; not KL_OK: it is to be refused with *error. */
enum kl_status kl_http_judge(struct kl_exchange *x, struct kl_api_error *error);
/* Either, once: the request is complete; or it is refused, and with keep another may follow. */
void kl_http_handle(struct kl_exchange *x);
void kl_http_refuse(struct kl_exchange *x, const struct kl_api_error *error, bool keep);
/* The answer has left; its connection is gone, for this cause; all that was written so far has
 * left. The first two end the exchange. */
void kl_http_finished(struct kl_exchange *x);
void kl_http_lost(struct kl_exchange *x, const char *cause);
void kl_http_drained(struct kl_exchange *x);

/* A whole answer to what is not a request that could be handled; the connection is to be closed.
 * Without memory for its text it is a 503; without memory at all there is none. */
void kl_http_write_error(struct evbuffer *output, const struct kl_api_error *error);

/* A request header, or NULL. */
const char *kl_request_header(const struct kl_exchange *x, const char *name);

/* The body, in one piece; valid until the answer, or as long as the buffer it was moved to. Then
 * the connection does not hold it any more. */
const char *kl_request_body(const struct kl_exchange *x, size_t *len);
void kl_request_take_body(struct kl_exchange *x, struct kl_buffer *body);

/* Does it come with a valid key, or does this server want none? For routes that need none but tell
 * more with one. */
bool kl_request_has_key(const struct kl_exchange *x);

/* May this request begin work that takes time? Not while the server stops, but for a request whose
 * connection was there before and had none yet, if another process takes the new connections:
 * that client can not know, and nobody else would answer it. */
bool kl_request_is_welcome(const struct kl_exchange *x);

/* Headers of the answer; before any of the following. */
void kl_reply_header(struct kl_exchange *x, const char *name, const char *value);

/* Whole answers. A body is left out for HEAD and 304, its length is told. body is stolen, text
 * copied (NULL: no memory); data must live as long as the program. Where memory was short, for any
 * part of it, the answer is a 503 that says so, and the connection ends; x->status tells. A body
 * that is NULL with memory enough could not be encoded: a 500. */
void kl_reply_json(struct kl_exchange *x, int status, json_t *body);
void kl_reply_text(struct kl_exchange *x, int status, const char *content_type, const char *text);
void kl_reply_error(struct kl_exchange *x, const struct kl_api_error *error);
void kl_reply_static(struct kl_exchange *x, int status, const char *content_type,
                     const unsigned char *data, size_t len);

/* From now on the caller is told, once, when the connection ends before the answer was complete:
 * the client left, or it does not read. The exchange is invalid after that call. */
void kl_exchange_watch(struct kl_exchange *x, void (*gone)(void *context, const char *cause),
                       void *context);

/* An event stream: headers at once, then events, each as its own chunk, then the end. When memory
 * is short for one of them the connection is cut, so that nobody takes what came for all there is.
 */
void kl_stream_begin(struct kl_exchange *x);
void kl_stream_data(struct kl_exchange *x, const char *line); /* one line; see sse.h */
void kl_stream_json(struct kl_exchange *x, json_t *body);     /* stolen; compact, as data */
void kl_stream_comment(struct kl_exchange *x, const char *text);
void kl_stream_end(struct kl_exchange *x);

/* Does more than KL_SERVER_OUTPUT_BYTES wait for the client? Then what the engine makes is to be
 * left with it; when all was taken, kl_generations_poll is called. */
bool kl_stream_is_full(struct kl_exchange *x);

#endif
