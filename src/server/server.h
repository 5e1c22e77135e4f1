/*
 * The server: connects the HTTP server, the service, the table of routes, signals, and the service
 * manager.
 *
 * Thread rule: one loop, on the thread that calls kl_server_run, owns every connection; nothing
 * here computes. kl_server_open begins to listen. The model may be loaded later, by another thread
 * (kl_server_ready); until then the page and /health are answered, and other requests wait. This
 * room does not read files, parse options or print: it logs, and errors are values.
 *
 * All strings of the options are copied by kl_server_open.
 */
#ifndef KL_SERVER_SERVER_H
#define KL_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/api_key.h"
#include "base/error.h"
#include "http/http.h"
#include "service/service.h"

struct kl_server;

struct kl_server_options {
    struct kl_http_options http; /* sockets passed by the service manager replace its own */
    struct kl_service_options service;

    /* The planned memory of the process in bytes; 0: no limit. Only reported. */
    uint64_t memory_budget;

    /* Called on SIGHUP, on the server's thread; may call kl_server_set_keys and kl_server_stop. May
     * be NULL. */
    void (*reload)(void *context);
    void *reload_context;
};

/* The default limits of connections for a memory budget (bytes; 0: none). They are lower for small
 * budgets: a computer with 512 MB has little more than the weights need. */
#define KL_SERVER_SMALL_BUDGET      ((uint64_t)1 << 30)
#define KL_SERVER_SMALL_CONNECTIONS 256
#define KL_SERVER_SMALL_HELD_BYTES  ((size_t)8 << 20)
size_t kl_server_connections_for(uint64_t budget);
size_t kl_server_held_bytes_for(uint64_t budget);

/* Memory for answers by rule: compiled rules of all requests (grammar/rule_cache.h), and what
 * following one takes for each running request. */
struct kl_server_rule_bytes {
    size_t compiled, followed;
};
struct kl_server_rule_bytes kl_server_rule_bytes_for(uint64_t budget);

/* Memory for kept answers (service/answer_store.h). */
size_t kl_server_answer_bytes_for(uint64_t budget);

/* Same as kl_http_connection_bytes and kl_context_policy_parse, for rooms that may include only
 * this one. */
size_t kl_server_connection_bytes(size_t max_connections);
bool kl_server_parse_context_policy(const char *name, enum kl_context_policy *policy);

/* Checks the options and begins to listen; errors are those of kl_http_open. */
enum kl_status kl_server_open(const struct kl_server_options *options, struct kl_server **server,
                              struct kl_error *err);

/* Same as kl_http_port, kl_http_url and kl_http_is_local. */
uint16_t kl_server_port(const struct kl_server *server);
const char *kl_server_url(const struct kl_server *server);
bool kl_server_is_local(const struct kl_server *server);

/* Returns whether a thread still downloads a model for a client (--allow-pull); it is not waited
 * for. */
bool kl_server_downloads(const struct kl_server *server);

/* For the one thread that loads a model, which need not be the server's. kl_server_loading
 * reports the stage ("downloading", ...; static) and its progress (total 0: not known). Then one of
 * the other two is called, once: kl_server_ready (models: see kl_startup_ready) submits the
 * requests that waited, in order of arrival; kl_server_failed answers them with the error, and
 * kl_server_run ends as after kl_server_stop. */
void kl_server_loading(struct kl_server *server, const char *stage, uint64_t done, uint64_t total);
void kl_server_ready(struct kl_server *server, const struct kl_served *models, size_t n_models);
void kl_server_failed(struct kl_server *server, const struct kl_error *error);

/* Serves until it is stopped, then returns KL_OK. Handles SIGHUP (see reload), SIGINT and SIGTERM:
 * the first of these two refuses new requests and lets running answers finish for drain_seconds (0
 * while the model is being loaded), a second one stops at once. */
enum kl_status kl_server_run(struct kl_server *server, struct kl_error *err);

/* Same as kl_http_set_keys; for the server's thread. */
enum kl_status kl_server_set_keys(struct kl_server *server, const struct kl_api_key *api_keys,
                                  size_t n_api_keys, struct kl_error *err);

/* Stops the server like the first SIGTERM; for another thread or a signal handler. May be called
 * more than once. */
void kl_server_stop(struct kl_server *server);

/* Ends all connections and releases the server. NULL is allowed. */
void kl_server_close(struct kl_server *server);

#endif
