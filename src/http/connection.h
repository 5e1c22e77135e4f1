/*
 * Connections: from a socket to complete requests, with their deadlines and limits.
 *
 * A connection reads one request after the other. When a head is complete, the request is judged; a
 * body is read only for a request that is accepted and takes one, and is handed over with it. A
 * refused body is skipped if all of it has arrived; otherwise the connection ends with the answer,
 * so that the body is never taken for the next request.
 *
 * While an answer is made, the connection is still read, so that the end of the client's stream is
 * an event and not detected at the next write. A client that closed only its sending side counts as
 * gone then, and one that sends more than the size of a request's head is cut off. While a
 * complete answer waits to be taken, nothing more is read: further input stays with the system.
 * Every wait for the client has a deadline: for the head and for the body of a request, each
 * counted from its beginning; for the next request; and for taking output. Errors below HTTP's
 * semantics (not HTTP, too large, too slow, too many) are answered here, as JSON like all other
 * errors, and end the connection.
 *
 * Memory and number of connections are limited, in total and for each holder; holders.h says which
 * connection ends when a limit is reached.
 *
 * Thread rule: everything runs on the server's thread. For the files of this room only.
 */
#ifndef KL_HTTP_CONNECTION_H
#define KL_HTTP_CONNECTION_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "http/http_message.h"

struct kl_http;
struct kl_exchange;
struct kl_holder;

/* In each period of kl_http_options.reader_seconds a client has to take this much of its output, or
 * all of it. */
#define KL_READER_BYTES ((size_t)16 << 10)
/* After the last answer the client closes first: otherwise its remaining input would make the
 * system discard output that it has not read yet. At most this much of that input is read, for at
 * most this time. */
#define KL_LINGER_BYTES   ((size_t)32 << 20)
#define KL_LINGER_SECONDS 2
/* Connections beyond the limit that get an answer; further ones are closed without one. */
#define KL_MAX_REFUSED 64

enum kl_connection_stage {
    KL_CONNECTION_IDLE,      /* nothing of a request has arrived */
    KL_CONNECTION_HEAD,      /* some of its head */
    KL_CONNECTION_BODY,      /* its head, and some of its body */
    KL_CONNECTION_ANSWERING, /* its exchange makes the answer */
    KL_CONNECTION_LAST,      /* the last answer waits to be taken */
    KL_CONNECTION_LINGERING  /* all was sent; the client has to close */
};

struct kl_connection {
    struct kl_http *http;
    struct bufferevent *bev;
    enum kl_connection_stage stage;
    struct sockaddr_storage local; /* the address the client used */
    struct in6_addr peer;          /* for counting; of IPv6 the network of 64 bits */
    bool refused;                  /* beyond the limits; not counted */
    bool left;                     /* the client closed its sending side */
    uint64_t n_requests;
    uint64_t stage_ns;        /* when it entered its stage, or its answer was complete */
    uint64_t request_ns;      /* when its request began to arrive */
    uint64_t progress_ns;     /* when bytes were last received or taken */
    struct kl_holder *holder; /* see holders.h */
    size_t held;              /* bytes */
    size_t n_kept;            /* bytes that are kept elsewhere for its answer */
    size_t n_static; /* bytes of the answer that are static data: the last ones of the output */
    struct event deadline, reader;
    uint64_t n_taken, n_to_take; /* bytes of output, in total: for the reader's deadline */
    size_t n_lingered;

    /* the request */
    size_t scanned;
    struct kl_http_head head;
    struct kl_http_chunks chunks;
    struct kl_buffer body;
    struct kl_exchange *exchange; /* while ANSWERING or LAST, NULL if there was none */

    struct kl_connection *previous, *next; /* younger, older */
};

/* The calls from a connection to its exchange. One table for all connections, set by http.c:
 * connection.c is below exchange.c and does not call it by name. */
struct kl_connection_events {
    /* A head is complete. NULL: no memory. */
    struct kl_exchange *(*begin)(struct kl_connection *c);
    /* Checks everything about the request that is known without its body. Not KL_OK: it is to be
     * refused with *error. */
    enum kl_status (*judge)(struct kl_exchange *x, struct kl_api_error *error);
    /* One of these, once: the request is complete; or it is refused, and with keep another may
     * follow. */
    void (*handle)(struct kl_exchange *x);
    void (*refuse)(struct kl_exchange *x, const struct kl_api_error *error, bool keep);
    /* The client has taken all output so far. */
    void (*drained)(struct kl_exchange *x);
    /* The answer has left; or the connection has ended, for this cause. Both end the exchange. */
    void (*finished)(struct kl_exchange *x);
    void (*lost)(struct kl_exchange *x, const char *cause);
};

/* Takes over an accepted socket of a client at this address (kl_holders_address). With refusal,
 * answers with it and ends. false: no memory; the socket is closed. */
bool kl_connection_open(struct kl_http *http, int fd, const struct in6_addr *address,
                        const struct kl_api_error *refusal);

/* Sets how many bytes are kept elsewhere for the answer of its request. */
void kl_connection_keep(struct kl_connection *c, size_t bytes);

/* Ends connections until what they hold is within the limits. */
void kl_connections_make_room(struct kl_http *http);

/* Ends a connection at once. Its exchange is lost for this cause; NULL: without notification. */
void kl_connection_close(struct kl_connection *c, const char *cause);

/* The answer is written completely. When the client has taken it, the exchange is finished and,
 * with keep, the next request is read. */
void kl_connection_answered(struct kl_connection *c, bool keep);

/* Moves the body of the request to *body, which the caller releases; the connection does not hold
 * it any more. */
void kl_connection_take_body(struct kl_connection *c, struct kl_buffer *body);

/* Whether as much output waits for the client as may: then no more should be written. */
bool kl_connection_is_full(const struct kl_connection *c);

/* The server drains. Connections without a request so far have a moment left for it; if another
 * process accepts from now on, those that are idle between requests are closed. */
void kl_connections_drain(struct kl_http *http);

/* Calls the idle event of the server if it drains and nothing is left to answer. */
void kl_connections_check_idle(struct kl_http *http);

/* Closes all, without notification. */
void kl_connections_close(struct kl_http *http);

#endif
