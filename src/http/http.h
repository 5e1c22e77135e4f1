/*
 * The HTTP server: sockets, connections, access, limits and deadlines, in front of a table of
 * routes.
 *
 * Knows nothing of what the handlers of the routes do. They get an exchange (exchange.h) and find
 * there the application pointer that was given to kl_http_open.
 *
 * Owner and thread rule: everything belongs to the thread of the loop. Strings of the options are
 * copied; the loop, the routes and the application outlive the server.
 */
#ifndef KL_HTTP_HTTP_H
#define KL_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/api_key.h"
#include "base/error.h"
#include "http/loop.h"
#include "http/route.h"

struct kl_http;

struct kl_http_options {
    /* Where to listen, unless there are sockets: an address ("127.0.0.1", "::1", "[::1]",
     * "0.0.0.0") or a name of this computer. NULL: 127.0.0.1. Port 0 takes any free one. */
    const char *host;
    uint16_t port;

    /* Further addresses with a port, as "127.0.0.1:11434" or "[::1]:11434", at most
     * KL_HTTP_MAX_ALSO; what holds for host holds for them. Also with sockets. */
    const char *const *also_listen;
    size_t n_also_listen;

    /* Listening sockets of another process, which accepts from them after this one has stopped, at
     * most KL_HTTP_MAX_LISTENERS; they become the server's. */
    const int *sockets;
    size_t n_sockets;

    /* With keys, every route but the open ones needs one of them ("Authorization: Bearer KEY" or
     * "x-api-key: KEY"). An address that other computers reach is refused without keys, unless
     * no_auth is set. */
    const struct kl_api_key *api_keys;
    size_t n_api_keys;
    bool no_auth;

    /* Names, in addition to localhost, the addresses themselves and the name of this computer (also
     * NAME.local), under which clients reach this server ("kinglet.lan"; "*.lan": all that end so).
     * A Host header with another is refused. */
    const char *const *allowed_hosts;
    size_t n_allowed_hosts;

    /* Origins of pages and apps that may use this server from a browser: see kl_origins_init. */
    const char *const *allowed_origins;
    size_t n_allowed_origins;

    /* The most bytes that all connections hold together; one address or API key may hold three
     * quarters of it. 0: KL_HTTP_HELD_BYTES. */
    size_t held_bytes;

    /* 0: the default that is named next to each. Connections in all; from one address (of IPv6:
     * network of 64 bits), where the default does not limit loopback; seconds for the head of a
     * request, for its body, until the next request on the same connection, and for a client to
     * take a piece of its answer. */
    size_t max_connections;             /* KL_HTTP_CONNECTIONS */
    size_t max_connections_per_address; /* KL_HTTP_CONNECTIONS_PER_ADDRESS */
    unsigned header_seconds;            /* KL_HTTP_HEADER_SECONDS */
    unsigned body_seconds;              /* KL_HTTP_BODY_SECONDS */
    unsigned idle_seconds;              /* KL_HTTP_IDLE_SECONDS */
    unsigned reader_seconds;            /* KL_HTTP_READER_SECONDS */
};

#define KL_HTTP_MAX_LISTENERS 8
#define KL_HTTP_MAX_ALSO      3
/* A page in a browser has up to 6. */
#define KL_HTTP_CONNECTIONS 1024
/* Memory of one connection without what it holds: 3.3 KiB were measured when it is idle, 9.6 KiB
 * with an answer that is not taken (exchange, headers, partly filled blocks of libevent). */
#define KL_HTTP_CONNECTION_BYTES ((size_t)12 << 10)
/* A household or an office behind one address. */
#define KL_HTTP_CONNECTIONS_PER_ADDRESS 64
/* Starting values as for other servers (haproxy, nginx); a phone on a bad line needs seconds. */
#define KL_HTTP_HEADER_SECONDS 10
#define KL_HTTP_BODY_SECONDS   30
#define KL_HTTP_IDLE_SECONDS   60
#define KL_HTTP_READER_SECONDS 30

/* Output of one answer that may wait for its client: some 5000 tokens, so that hardly any answer
 * keeps its slot in the engine because of a slow client. The rest stays with the application. */
#define KL_HTTP_OUTPUT_BYTES ((size_t)1 << 20)
/* The most that all connections hold (incomplete requests, output that was not taken); beyond that,
 * the largest ends (holders.h). One address or API key may hold three quarters: alone it has nearly
 * all, and there is room for others before they need it. When half of a share or three quarters of
 * all are taken, an answer has only KL_HTTP_MIN_OUTPUT_BYTES. */
#define KL_HTTP_HELD_BYTES       ((size_t)16 << 20)
#define KL_HTTP_MIN_OUTPUT_BYTES ((size_t)64 << 10)

struct kl_connection_counts {
    uint64_t accepted;
    uint64_t refused;         /* beyond the limits */
    uint64_t evicted;         /* idle or incomplete ones that made room for a new one */
    uint64_t held_most;       /* ended because too much was held */
    uint64_t requests_late;   /* head or body not complete in time */
    uint64_t readers_late;    /* did not take what was written to them */
    uint64_t accept_failures; /* times that accepting failed, mostly for lack of descriptors */
};

/* The most memory that connections take, in addition to what they hold. */
size_t kl_http_connection_bytes(size_t max_connections);

/* Checks the options, binds and listens, and raises the limit of open files to what the connections
 * need, if the system permits. An address that is in use or not this computer's is KL_ERR_IO with a
 * text that names it and says what to do; an unsafe combination of options is KL_ERR_INVALID.
 *
 * idle(application) is called while the server drains, when no answer is being made and no
 * request is expected that it still has to answer. */
enum kl_status kl_http_open(const struct kl_http_options *options, struct kl_loop *loop,
                            const struct kl_routes *routes, void *application,
                            void (*idle)(void *application), struct kl_http **http,
                            struct kl_error *err);

/* Closes all connections; exchanges that wait are not notified. NULL is allowed. */
void kl_http_close(struct kl_http *http);

/* The port it listens on, and its address as a browser needs it: "http://127.0.0.1:7860". */
uint16_t kl_http_port(const struct kl_http *http);
const char *kl_http_url(const struct kl_http *http);

/* Whether it listens on loopback addresses only. */
bool kl_http_is_local(const struct kl_http *http);

/* Replaces the keys by others, at least one. Requests that were accepted continue. A server without
 * keys stays one: KL_ERR_INVALID. */
enum kl_status kl_http_set_keys(struct kl_http *http, const struct kl_api_key *api_keys,
                                size_t n_api_keys, struct kl_error *err);

/* Begins to drain: answers are completed, connections end with them, and no request that takes time
 * is welcome any more (kl_request_is_welcome). New connections are still accepted, for routes that
 * report the state, unless another process accepts from the same sockets. Again: nothing. */
void kl_http_drain(struct kl_http *http);
bool kl_http_is_draining(const struct kl_http *http);

/* Whether a request is being answered. */
bool kl_http_is_answering(const struct kl_http *http);

/* Calls idle if the conditions of kl_http_open hold now. */
void kl_http_check_idle(struct kl_http *http);

const struct kl_connection_counts *kl_http_counts(const struct kl_http *http);
/* Bytes that all connections hold now. */
size_t kl_http_held(const struct kl_http *http);

#endif
