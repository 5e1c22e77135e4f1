/*
 * Connections: sockets in, whole requests out, and what may hold each of them up.
 *
 * A connection reads one request after the other. When a head is complete, judge.c decides; a body
 * is read only for a request that is accepted and takes one, and then handed over with it. A body
 * that is refused is left out where it has come already, and else the connection ends with the
 * answer, so that it is never taken for the next request.
 *
 * While its answer is made, a connection is read, so that the end of the client's stream is an
 * event and not found out at the next write; a client that closed only its sending side counts as
 * gone then, and one that sends more ahead than a request's head is cut off. While a complete
 * answer is being taken, nothing more is read: what the client sends ahead stays with the system.
 * Whatever takes a client's time has a deadline: the head and the body of a request in all, not
 * from byte to byte; the next request; and taking what was written to it. Errors below HTTP's
 * semantics (no HTTP, too large, too slow, too many) are answered here, in the JSON of all other
 * errors, and end the connection.
 *
 * What connections hold, and how many there are, is bounded for all and for each holder; holders.h
 * says which of them ends when a bound is reached.
 *
 * Everything runs on the server's one thread.
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

/* A client that does not take what is written to it: in each of its time-outs
 * (kl_http_options.reader_seconds) it has to take this much, or all there is. */
#define KL_READER_BYTES ((size_t)16 << 10)
/* After the last answer the client is to close first, or what it was still sending would make the
 * system throw away what it has not read yet. So much of that is taken, so long. */
#define KL_LINGER_BYTES   ((size_t)32 << 20)
#define KL_LINGER_SECONDS 2
/* Connections beyond the limit that are told so; further ones are closed without a word. */
#define KL_MAX_REFUSED 64

enum kl_connection_stage {
    KL_CONNECTION_IDLE,      /* nothing of a request is there */
    KL_CONNECTION_HEAD,      /* some of its head */
    KL_CONNECTION_BODY,      /* its head, and some of its body */
    KL_CONNECTION_ANSWERING, /* the exchange has it */
    KL_CONNECTION_LAST,      /* the last answer is on its way */
    KL_CONNECTION_LINGERING  /* everything was sent; the client is to close */
};

struct kl_connection {
    struct kl_http *http;
    struct bufferevent *bev;
    enum kl_connection_stage stage;
    struct sockaddr_storage local; /* the address the client used */
    struct in6_addr peer;          /* for counting; of IPv6 the network of 64 bits */
    bool refused;                  /* beyond the limits: does not count */
    bool left;                     /* the client will not send any more */
    uint64_t n_requests;
    uint64_t stage_ns;        /* since when it is in its stage, or its answer is complete */
    uint64_t request_ns;      /* since when it has a part of a request */
    uint64_t progress_ns;     /* when something was last received or taken */
    struct kl_holder *holder; /* see holders.h */
    size_t held;              /* bytes */
    size_t n_static; /* bytes of the answer that lie in the program: the last ones of what waits */
    struct event deadline, reader;
    uint64_t n_taken, n_to_take; /* bytes of output, since the beginning: for the reader's time */
    size_t n_lingered;

    /* the request */
    size_t scanned;
    struct kl_http_head head;
    struct kl_http_chunks chunks;
    struct kl_buffer body;
    struct kl_exchange *exchange; /* while ANSWERING or LAST, NULL if there was none */

    struct kl_connection *previous, *next; /* younger, older */
};

/* What a connection calls when something happens to its exchange. One table for all, set by http.c:
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
    /* All that was written so far has been taken. */
    void (*drained)(struct kl_exchange *x);
    /* The answer has left; or the connection has ended, for this cause. Both end the exchange. */
    void (*finished)(struct kl_exchange *x);
    void (*lost)(struct kl_exchange *x, const char *cause);
};

/* Takes over an accepted socket of a client at this address (kl_holders_address). With refusal,
 * answers with it and ends. false: no memory; the socket is closed. */
bool kl_connection_open(struct kl_http *http, int fd, const struct in6_addr *address,
                        const struct kl_api_error *refusal);

/* Ends connections until what all hold is within bounds. */
void kl_connections_make_room(struct kl_http *http);

/* Ends it at once. An exchange that waits on it is told the cause. */
void kl_connection_close(struct kl_connection *c, const char *cause);

/* The answer to the request was written, all of it. When it has left, the exchange is told
 * (finished) and, with keep, the next request is read. */
void kl_connection_answered(struct kl_connection *c, bool keep);

/* Moves the body of the request to *body; from now on it does not count as held here. */
void kl_connection_take_body(struct kl_connection *c, struct kl_buffer *body);

/* Does as much wait for the client as may? Then nothing more should be made for it. */
bool kl_connection_is_full(const struct kl_connection *c);

/* The server stops. Those that never asked anything have a moment left for it, and if another
 * process accepts from now on, those that wait between requests are closed. */
void kl_connections_drain(struct kl_http *http);

/* Calls the idle event of the server if it drains and nothing is left to answer. */
void kl_connections_check_idle(struct kl_http *http);

/* Closes all; nobody is told a cause. */
void kl_connections_close(struct kl_http *http);

#endif
