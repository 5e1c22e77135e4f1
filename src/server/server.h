/*
 * The running program: the HTTP server, the service behind it, the table of routes, signals, and
 * the service manager.
 *
 * One loop, on the thread that calls kl_server_run, owns every connection; nothing here computes.
 * It listens from kl_server_open on; the model may come later, from another thread
 * (kl_server_ready), and until then the page and /health are answered and requests wait. This room
 * does not read files, parse options or print: it logs, and errors are values.
 *
 * All strings of the options are copied by kl_server_open.
 */
#ifndef KL_SERVER_SERVER_H
#define KL_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "http/http.h"
#include "service/service.h"

struct kl_server;

struct kl_server_options {
    struct kl_http_options http; /* the sockets are those of the service manager, if it has any */
    struct kl_service_options service;

    /* The most memory that the process is planned to hold, bytes; 0: not limited. Only reported. */
    uint64_t memory_budget;

    /* Called on SIGHUP, on the server's thread; may call kl_server_set_keys and kl_server_stop.
     * NULL: nothing. */
    void (*reload)(void *context);
    void *reload_context;
};

/* The limits of connections for a budget of memory (bytes; 0: none), where the user gave none: a
 * computer of 512 MB has hardly more than the weights need. */
#define KL_SERVER_SMALL_BUDGET      ((uint64_t)1 << 30)
#define KL_SERVER_SMALL_CONNECTIONS 256
#define KL_SERVER_SMALL_HELD_BYTES  ((size_t)8 << 20)
size_t kl_server_connections_for(uint64_t budget);
size_t kl_server_held_bytes_for(uint64_t budget);

/* As kl_http_connection_bytes and kl_context_policy_parse, for the rooms that see only this one. */
size_t kl_server_connection_bytes(size_t max_connections);
bool kl_server_parse_context_policy(const char *name, enum kl_context_policy *policy);

/* Checks the options and listens; errors are those of kl_http_open. */
enum kl_status kl_server_open(const struct kl_server_options *options, struct kl_server **server,
                              struct kl_error *err);

/* As kl_http_port, kl_http_url and kl_http_is_local. */
uint16_t kl_server_port(const struct kl_server *server);
const char *kl_server_url(const struct kl_server *server);
bool kl_server_is_local(const struct kl_server *server);

/* From the one thread that loads the model, which may be another than the server's: the stage
 * ("downloading", ...; static) and how far it is (total 0: not known); then one of the last two,
 * once. Requests that waited are then submitted in the order they came; or they are answered with
 * the error, and kl_server_run ends as after kl_server_stop. */
void kl_server_loading(struct kl_server *server, const char *stage, uint64_t done, uint64_t total);
void kl_server_ready(struct kl_server *server, const struct kl_served *served);
void kl_server_failed(struct kl_server *server, const struct kl_error *error);

/* Serves until it is told to stop; KL_OK then. While it runs it takes SIGHUP (see reload), SIGINT
 * and SIGTERM: the first takes no more work and lets running answers finish for drain_seconds (none
 * while the model is being loaded), a second ends at once. */
enum kl_status kl_server_run(struct kl_server *server, struct kl_error *err);

/* As kl_http_set_keys; from the server's thread. */
enum kl_status kl_server_set_keys(struct kl_server *server, const char *const *api_keys,
                                  size_t n_api_keys, struct kl_error *err);

/* As the first signal does; for another thread or a signal handler. May be called again. */
void kl_server_stop(struct kl_server *server);

/* Ends and releases all that is left. NULL is allowed. */
void kl_server_close(struct kl_server *server);

#endif
