/*
 * One HTTP exchange: a request, and its one answer.
 *
 * An exchange begins when a connection has read the head of a request, and ends when the client has
 * taken the answer or the connection is gone. The handler of its route either answers at once
 * (kl_reply_*), or keeps the exchange, asks to be notified when the client leaves
 * (kl_exchange_watch), and answers later, with a document or a stream.
 *
 * Owner: the HTTP server. Thread rule: everything runs on the server's thread.
 */
#ifndef KL_HTTP_EXCHANGE_H
#define KL_HTTP_EXCHANGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "http/api_error.h"
#include "http/http_message.h"
#include "http/route.h"

struct kl_http;
struct kl_connection;

/* The path of a URL and, in "GET http://host/path", the host. */
#define KL_HTTP_MAX_PATH 1024

/* Events of an exchange while its answer is made. */
struct kl_exchange_events {
    /* The connection has ended: the client left, or it does not read. The exchange is invalid after
     * this call. Not called when the server closes. */
    void (*gone)(void *context, const char *cause);
    /* The client has taken all output, after kl_stream_is_full returned true. */
    void (*drained)(void *context);
};

/* Takes the answer of an exchange that has no connection (kl_exchange_detach), as the calls below
 * are made; none of them calls back. */
struct kl_exchange_sink {
    void (*begin)(void *context, const char *content_type); /* a stream; the type is static */
    void (*piece)(void *context, const struct kl_buffer *text);
    void (*comment)(void *context, const struct kl_buffer *text); /* framed */
    void (*end)(void *context);
    void (*cut)(void *context);
    /* A whole answer; NULL: there was no memory for it. */
    void (*reply)(void *context, const char *content_type, const char *text);
};

/* The cause of `gone`, this very string, when the client does not take its answer. */
extern const char kl_cause_slow_reader[];

struct kl_exchange {
    struct kl_http *http;
    void *application;                   /* as given to kl_http_open */
    struct kl_connection *connection;    /* NULL: `sink` takes the answer */
    const struct kl_exchange_sink *sink; /* NULL: the connection takes it */
    void *sink_context;
    const struct kl_http_head *head;
    const struct kl_route *route;
    char path[KL_HTTP_MAX_PATH]; /* decoded, normalised: see kl_route_path */
    const char *query;           /* of the URL, as sent; NULL: none */
    char id[33];                 /* unique, for logs and X-Request-Id */
    uint64_t start_ns;           /* when the request was complete */
    uint64_t cache_scope;        /* of its key: see kl_key_scope; 0: the server has no keys */
    int status;                  /* of the answer; 0 before there is one */
    struct kl_buffer headers;    /* of the answer */
    bool lacks_header;           /* no memory for one: the answer must not be sent */
    bool head_sent;              /* further headers of the answer come too late */
    bool close;                  /* the connection ends with this answer */
    bool chunked;                /* a stream in HTTP/1.1 */
    bool sent;                   /* the answer is complete; the client may not have taken it yet */
    bool held_back;              /* kl_stream_is_full returned true */
    uint64_t last_write_ns;      /* of a stream */

    const struct kl_exchange_events *events; /* NULL: no handler keeps it */
    void *context;
    struct kl_exchange *previous, *next;
};

/* Defines the function of a route; server/routes.c declares it where the row is. */
#define KL_HANDLER(name)                                                                           \
    void name(struct kl_exchange *x);                                                              \
    void name(struct kl_exchange *x)

/* For connections (struct kl_connection_events says what each means). */
struct kl_exchange *kl_exchange_begin(struct kl_connection *connection);
void kl_exchange_handle(struct kl_exchange *x);
void kl_exchange_refuse(struct kl_exchange *x, const struct kl_api_error *error, bool keep);
void kl_exchange_drained(struct kl_exchange *x);
void kl_exchange_finished(struct kl_exchange *x);
void kl_exchange_lost(struct kl_exchange *x, const char *cause);

/* The shape of errors of its route; OpenAI's where there is none. */
static inline enum kl_error_shape kl_exchange_error_shape(const struct kl_exchange *x)
{
    return x->route != NULL ? kl_route_errors(x->route) : KL_ERRORS_OPENAI;
}

/* A request header, or NULL. */
const char *kl_request_header(const struct kl_exchange *x, const char *name);

/* The body, contiguous; valid until the answer is complete or the body is taken. Taking it moves it
 * to *body, which the caller releases, and leaves its bytes where they are; the connection then
 * does not hold it any more. */
const char *kl_request_body(const struct kl_exchange *x, size_t *len);
void kl_request_take_body(struct kl_exchange *x, struct kl_buffer *body);

/* The client's address as its connections are counted: of IPv6 the network of 64 bits. */
const struct in6_addr *kl_request_peer(const struct kl_exchange *x);

/* Whether this request may begin work that takes time. Not while the server drains, except the
 * first request of a connection that was opened before, if another process accepts the new ones:
 * that client cannot know, and no other process would answer it. */
bool kl_request_is_welcome(const struct kl_exchange *x);

/* Adds a header of the answer; too late for a stream that has begun, where it is ignored. */
void kl_reply_header(struct kl_exchange *x, const char *name, const char *value);

/* Send a whole answer. HEAD gets no body, only its length; 204 and 304 neither. text is copied;
 * NULL: there was no memory for it. Static data lives as long as the program. Where memory is short
 * for any part of an answer, it is a 503 that says so, and the connection ends; x->status is what
 * was sent. */
void kl_reply_text(struct kl_exchange *x, int status, const char *content_type, const char *text);
void kl_reply_static(struct kl_exchange *x, int status, const char *content_type,
                     const unsigned char *data, size_t len);
/* An error as JSON, with Retry-After if it has one. */
void kl_reply_error(struct kl_exchange *x, const struct kl_api_error *error);
/* An error of this program instead of an answer that could not be made: it is logged, and the
 * connection ends. */
void kl_reply_fault(struct kl_exchange *x, const struct kl_api_error *error);

/* From now on the caller is notified of what happens to the exchange, until the answer is complete.
 */
void kl_exchange_watch(struct kl_exchange *x, const struct kl_exchange_events *events,
                       void *context);

/* Makes *detached an exchange of the same request whose answer goes to a sink: without connection,
 * body, and the headers of the answer so far. kl_exchange_release_detached frees its headers. */
void kl_exchange_detach(const struct kl_exchange *x, const struct kl_exchange_sink *sink,
                        void *context, struct kl_exchange *detached);
void kl_exchange_release_detached(struct kl_exchange *detached);

/* Adds the headers of the answer of another exchange. */
void kl_reply_headers_of(struct kl_exchange *x, const struct kl_exchange *other);

/* An answer as a stream: its head at once, then pieces, each as a chunk of its own, then the end.
 * Without memory for a piece the connection is cut, so that no client takes an incomplete answer
 * for a complete one. */
void kl_stream_begin(struct kl_exchange *x, const char *content_type);
/* Writes a piece; a status other than KL_OK means that there was no memory to make it. */
void kl_stream_write(struct kl_exchange *x, enum kl_status status, const struct kl_buffer *text);
/* Write an event, with or without a name, or a comment of an SSE stream; see framing.h. line has no
 * line breaks. */
void kl_stream_data(struct kl_exchange *x, const char *line);
void kl_stream_event(struct kl_exchange *x, const char *name, const char *line);
void kl_stream_comment(struct kl_exchange *x, const char *text);
void kl_stream_end(struct kl_exchange *x);
/* Cuts the connection: a piece of the answer could not be made. */
void kl_stream_cut(struct kl_exchange *x);

/* Counts bytes that are kept to answer this request as held by its connection (holders.h); 0 when
 * they are released. Too many end connections later, perhaps this one. */
void kl_exchange_keep(struct kl_exchange *x, size_t bytes);

/* Whether more waits for the client than may (KL_HTTP_OUTPUT_BYTES): then nothing more should be
 * written until `drained` is called. */
bool kl_stream_is_full(struct kl_exchange *x);

#endif
