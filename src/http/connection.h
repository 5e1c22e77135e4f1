/*
 * Connections: sockets in, whole requests out, and what may hold each of them up.
 *
 * A connection reads one request after the other. When a head is complete, http.c judges it; a body
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
 * What connections hold, and how many there are, is bounded for all and for each holder; shares.h
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

struct kl_server;
struct kl_exchange;
struct kl_holder;

/* A client that does not take what is written to it: in each of its time-outs
 * (kl_server_options.reader_seconds) it has to take this much, or all there is. */
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
    struct kl_server *server;
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
    struct kl_holder *holder; /* see shares.h */
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

struct kl_connection_counts {
    uint64_t accepted;
    uint64_t refused;         /* beyond the limits */
    uint64_t evicted;         /* idle or incomplete ones that made room for a new one */
    uint64_t held_most;       /* ended because too much was held */
    uint64_t requests_late;   /* head or body not there in time */
    uint64_t readers_late;    /* did not take what was written to them */
    uint64_t accept_failures; /* times that nothing could be accepted: out of descriptors, mostly */
};

/* Takes over a socket that was accepted; refuses it when there are too many. */
void kl_connection_open(struct kl_server *server, int fd, const struct sockaddr *peer);

/* The cause, this very string, when the client does not take its answer. */
extern const char kl_cause_slow_reader[];

/* Ends connections until what all hold is within bounds. */
void kl_connections_make_room(struct kl_server *server);

/* Ends it at once. An exchange that waits on it is told the cause. */
void kl_connection_close(struct kl_connection *c, const char *cause);

/* The answer to the request was written, all of it. When it has left, the exchange is told
 * (kl_http_finished) and, with keep, the next request is read. */
void kl_connection_answered(struct kl_connection *c, bool keep);

/* Moves the body of the request to *body; from now on it does not count as held here. */
void kl_connection_take_body(struct kl_connection *c, struct kl_buffer *body);

/* Does as much wait for the client as may? Then nothing more should be made for it. */
bool kl_connection_is_full(const struct kl_connection *c);

/* The server stops. Those that never asked anything have a moment left for it, and if another
 * process accepts from now on, those that wait between requests are closed. */
void kl_connections_drain(struct kl_server *server);

/* Is there a connection whose first request has not come yet? */
bool kl_connections_expect_request(const struct kl_server *server);

/* Closes all; nobody is told a cause. */
void kl_connections_close(struct kl_server *server);

#endif
