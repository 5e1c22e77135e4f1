/*
 * HTTP in front of an engine: the native and the OpenAI-compatible routes, the page, health.
 *
 * One libevent loop on the thread that calls kl_server_run owns every connection; nothing here
 * computes. It listens from kl_server_open on; the model may come later, from another thread
 * (kl_server_ready), and until then the page and /health are answered and requests wait.
 * This layer does not read files, parse options or print: it logs, and errors are values.
 *
 * All strings of the options are copied by kl_server_open.
 */
#ifndef KL_SERVER_SERVER_H
#define KL_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

struct kl_server;

enum kl_context_policy {
    KL_CONTEXT_ERROR, /* refused: 400 */
    KL_CONTEXT_TRIM   /* the oldest turns are left out, and the answer says how many messages */
};
/* "error", "trim". false: neither. */
bool kl_context_policy_parse(const char *name, enum kl_context_policy *policy);

struct kl_server_options {
    /* Where to listen, unless a service manager handed over sockets (service.h): an address
     * ("127.0.0.1", "::1", "[::1]", "0.0.0.0") or a name of this machine. NULL: 127.0.0.1. port 0
     * takes any free one; kl_server_port tells which. */
    const char *host;
    uint16_t port;

    /* With keys, everything but the page, /live, /ready and the status in /health needs one of them
     * ("Authorization: Bearer KEY" or "x-api-key: KEY"). An address that others can reach is
     * refused without keys, unless no_auth says that this is meant. */
    const char *const *api_keys;
    size_t n_api_keys;
    bool no_auth;

    /* Names beside localhost and the addresses themselves under which clients reach this server
     * ("kinglet.lan"; "*.lan": all that end so); a Host header with another name is refused. */
    const char *const *allowed_hosts;
    size_t n_allowed_hosts;

    /* How many requests may wait for the model; more are refused with a 429. */
    size_t max_waiting;

    /* A request that is expected to wait longer for its first step is refused with a 429; 0: any
     * wait is fine. */
    double max_wait_seconds;

    /* Of each answer: tokens, and wall time from when the request came in; 0: no limit. What asks
     * for more gets as much. */
    size_t max_tokens;
    double max_seconds;

    /* The most memory that the process is planned to hold, bytes; 0: not limited. Only told. */
    uint64_t memory_budget;

    /* What becomes of conversations that are too long, unless a request says something else. */
    enum kl_context_policy context_policy;

    /* Whether answers that only repeat themselves are ended, unless a request says something else.
     */
    bool loop_guard;

    /* What connections hold, together; of one address or API key three quarters of it. 0:
     * KL_SERVER_HELD_BYTES. */
    size_t held_bytes;

    /* Each 0: what is named after it. Connections in all, beside some that are told there is no
     * room; from one address (of IPv6: network of 64 bits), where the default leaves loopback
     * free; seconds for the head of a request and for its body, until the next one on the same
     * connection, and for a client to take a piece of its answer; on SIGTERM or SIGINT: how long
     * running answers may go on. */
    size_t max_connections;             /* KL_SERVER_CONNECTIONS */
    size_t max_connections_per_address; /* KL_SERVER_CONNECTIONS_PER_ADDRESS */
    unsigned header_seconds;            /* KL_SERVER_HEADER_SECONDS */
    unsigned body_seconds;              /* KL_SERVER_BODY_SECONDS */
    unsigned idle_seconds;              /* KL_SERVER_IDLE_SECONDS */
    unsigned reader_seconds;            /* KL_SERVER_READER_SECONDS */
    unsigned drain_seconds;             /* KL_SERVER_DRAIN_SECONDS */

    /* Called on SIGHUP, on the server's thread; may call kl_server_set_keys and kl_server_stop.
     * NULL: nothing. */
    void (*reload)(void *context);
    void *reload_context;
};

/* A page in a browser has up to 6. */
#define KL_SERVER_CONNECTIONS 1024
/* One without what it holds: 3.3 KiB were seen when it is idle, 9.6 KiB with an answer that is not
 * taken (the exchange, its headers, blocks of libevent that are not full). */
#define KL_SERVER_CONNECTION_BYTES ((size_t)12 << 10)
/* A household or an office behind one address. */
#define KL_SERVER_CONNECTIONS_PER_ADDRESS 64
/* Starting values as for other servers (haproxy, nginx); a phone on a bad line needs seconds. */
#define KL_SERVER_HEADER_SECONDS 10
#define KL_SERVER_BODY_SECONDS   30
#define KL_SERVER_IDLE_SECONDS   60
#define KL_SERVER_READER_SECONDS 30
#define KL_SERVER_DRAIN_SECONDS  30

/* Output that may wait for a client, per answer: some 5000 tokens, so that hardly any answer has to
 * wait for a client with its place in the engine taken. What is more stays with the engine, whose
 * request pauses. */
#define KL_SERVER_OUTPUT_BYTES ((size_t)1 << 20)
/* What connections hold (requests that are not complete, output that was not taken), of all;
 * beyond that the largest ends (shares.h). One address or API key may hold three quarters: alone it
 * has nearly all, and there is room for others before they need anything of it. When half of a
 * share or three quarters of all are taken, an answer has only KL_SERVER_MIN_OUTPUT_BYTES. */
#define KL_SERVER_HELD_BYTES       ((size_t)16 << 20)
#define KL_SERVER_MIN_OUTPUT_BYTES ((size_t)64 << 10)
/* Memory for the requests that are being read (preparation.h), together. */
#define KL_SERVER_READING_BYTES ((size_t)28 << 20)
/* When to try again at a server that starts or stops. */
#define KL_SERVER_RETRY_SECONDS 2

/* What requests are answered with. All of it belongs to the caller and outlives the server. */
struct kl_served {
    struct kl_engine *engine;
    const struct kl_tokenizer *tokenizer;
    const struct kl_chat_template *chat_template;
    enum kl_chat_by chat_template_by;

    /* What /v1/models and /health tell, valid UTF-8. Requests may name the model by each. */
    const char *model_name;     /* "qwen2.5-0.5b-instruct" */
    const char *model_file;     /* base name of the file, or NULL */
    const char *const *aliases; /* further names */
    size_t n_aliases;
    int64_t model_created; /* seconds since 1970, or 0 */
    uint64_t model_bytes;  /* size of the file, or 0 */
};

/* How many connections there may be, and what they may hold, where a budget of memory (bytes; 0:
 * none) is the only thing that is said: a box of 512 MB has hardly more than the weights need. */
#define KL_SERVER_SMALL_BUDGET      ((uint64_t)1 << 30)
#define KL_SERVER_SMALL_CONNECTIONS 256
#define KL_SERVER_SMALL_HELD_BYTES  ((size_t)8 << 20)
size_t kl_server_connections_for(uint64_t budget);
size_t kl_server_held_bytes_for(uint64_t budget);

/* The most that connections take themselves, in addition to what they hold. */
size_t kl_server_connection_bytes(size_t max_connections);

/* Checks the options, binds and listens, and raises the limit of open files to what the connections
 * need, as far as that goes. An address in use or not ours is KL_ERR_IO with a text
 * that names it and says what to do; an unsafe combination of options is KL_ERR_INVALID. */
enum kl_status kl_server_open(const struct kl_server_options *options, struct kl_server **server,
                              struct kl_error *err);

/* The port it listens on, and its address as a browser wants it: "http://127.0.0.1:7860". */
uint16_t kl_server_port(const struct kl_server *server);
const char *kl_server_url(const struct kl_server *server);

/* Whether it listens on loopback addresses only: other computers do not reach it, and from a
 * container nothing outside of it does. */
bool kl_server_is_local(const struct kl_server *server);

enum kl_loading_stage {
    KL_LOADING_FINDING,     /* which model, and where it is */
    KL_LOADING_DOWNLOADING, /* bytes */
    KL_LOADING_OPENING,     /* the file, the tokenizer */
    KL_LOADING_PACKING,     /* the weights, at the first start; bytes */
    KL_LOADING_READING,     /* the weights; bytes */
    KL_LOADING_MEASURING    /* how many threads are best, at the first start */
};

/* From the one thread that loads the model, which may be another than the server's: how far it is
 * (total 0: not known), and in the end either of the last two, once. Requests that waited are then
 * submitted in the order they came; or they are answered with the error, and kl_server_run ends as
 * after kl_server_stop. */
void kl_server_loading(struct kl_server *server, enum kl_loading_stage stage, uint64_t done,
                       uint64_t total);
void kl_server_ready(struct kl_server *server, const struct kl_served *served);
void kl_server_failed(struct kl_server *server, const struct kl_error *error);

/* Serves until it is told to stop; KL_OK then. While it runs it takes SIGHUP (see reload), SIGINT
 * and SIGTERM: the first takes no more work and lets running answers finish for drain_seconds (none
 * while the model is being loaded), a second ends at once. */
enum kl_status kl_server_run(struct kl_server *server, struct kl_error *err);

/* Other keys instead of those there are, at least one; from the server's thread. Requests that were
 * let in go on. A server without keys stays one: KL_ERR_INVALID. */
enum kl_status kl_server_set_keys(struct kl_server *server, const char *const *api_keys,
                                  size_t n_api_keys, struct kl_error *err);

/* As the first signal does; for another thread or a signal handler. May be called again. */
void kl_server_stop(struct kl_server *server);

/* Ends and releases whatever is still there. NULL is allowed. */
void kl_server_close(struct kl_server *server);

#endif
