#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "server/routes.h"
#include "server/server_state.h"
#include "service/drain.h"
#include "json/json_memory.h"

static const int signal_numbers[] = {SIGINT, SIGTERM, SIGHUP};
#define N_SIGNALS (sizeof signal_numbers / sizeof signal_numbers[0])

/* ---- events ---------------------------------------------------------------------------------- */

static void on_ready(void *context)
{
    const struct kl_server *server = context;
    kl_systemd_ready(&server->systemd);
}

static void on_draining(void *context)
{
    const struct kl_server *server = context;
    kl_systemd_stopping(&server->systemd);
}

static const struct kl_service_events service_events = {on_ready, on_draining};

static void on_stop(void *context, int fd)
{
    struct kl_server *server = context;
    uint64_t value;
    if (read(fd, &value, sizeof value) == sizeof value)
        kl_drain_begin(&server->service);
}

static void reload(struct kl_server *server)
{
    if (server->reload == NULL)
        return;
    kl_systemd_reloading(&server->systemd);
    server->reload(server->reload_context);
    if (!kl_http_is_draining(server->http) && !kl_service_is_loading(&server->service))
        kl_systemd_ready(&server->systemd);
}

static void on_signal(void *context, int number)
{
    struct kl_server *server = context;
    if (number == SIGHUP) {
        reload(server);
    } else if (kl_http_is_draining(server->http)) {
        kl_warning("%s again: stopping at once", strsignal(number));
        kl_loop_stop(server->loop);
    } else {
        kl_info("%s: no new requests are taken", strsignal(number));
        kl_drain_begin(&server->service);
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum kl_status open_http(struct kl_server *server, const struct kl_http_options *options,
                                struct kl_error *err)
{
    int sockets[KL_HTTP_MAX_LISTENERS];
    struct kl_http_options o = *options;
    o.sockets = sockets;
    o.n_sockets = kl_systemd_sockets(sockets, KL_HTTP_MAX_LISTENERS);
    enum kl_status status = kl_http_open(&o, server->loop, &kl_server_routes, &server->service,
                                         kl_drain_idle, &server->http, err);
    server->service.http = server->http;
    return status;
}

static enum kl_status open_all(struct kl_server *server, const struct kl_server_options *options,
                               struct kl_error *err)
{
    server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->stop_fd < 0)
        return kl_fail_errno(err, "an eventfd");
    enum kl_status status = kl_loop_open(&server->loop, err);
    if (status == KL_OK)
        status = kl_service_open(&server->service, &options->service, server->loop, &service_events,
                                 server, err);
    if (status != KL_OK)
        return status;
    server->stop_watch = kl_watch_fd(server->loop, server->stop_fd, on_stop, server);
    if (server->stop_watch == NULL)
        return kl_fail_memory(err, "the event loop", 0);
    status = open_http(server, &options->http, err);
    if (status == KL_OK && options->service.history_dir != NULL && options->http.n_api_keys == 0 &&
        !kl_http_is_local(server->http))
        status = kl_fail(err, KL_ERR_INVALID,
                         "--history needs --api-key-file on an address that other computers reach: "
                         "without keys, each of them could read and delete all chats");
    return status == KL_OK ? kl_systemd_open(&server->systemd, &server->service, err) : status;
}

enum kl_status kl_server_open(const struct kl_server_options *options, struct kl_server **server,
                              struct kl_error *err)
{
    *server = NULL;
    struct kl_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return kl_fail_memory(err, "the server", sizeof *s);
    s->stop_fd = -1;
    s->service.startup.fd = -1;
    s->memory_budget = options->memory_budget;
    s->reload = options->reload;
    s->reload_context = options->reload_context;
    kl_json_memory_watch();
    enum kl_status status = open_all(s, options, err);
    if (status != KL_OK) {
        kl_server_close(s);
        return status;
    }
    *server = s;
    return KL_OK;
}

void kl_server_close(struct kl_server *server)
{
    if (server == NULL)
        return;
    kl_service_close(&server->service);
    kl_http_close(server->http);
    kl_systemd_close(&server->systemd);
    kl_watch_remove(server->stop_watch);
    kl_loop_close(server->loop);
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    free(server);
}

static bool is_small(uint64_t budget)
{
    return budget != 0 && budget < KL_SERVER_SMALL_BUDGET;
}

size_t kl_server_connections_for(uint64_t budget)
{
    return is_small(budget) ? KL_SERVER_SMALL_CONNECTIONS : KL_HTTP_CONNECTIONS;
}

size_t kl_server_held_bytes_for(uint64_t budget)
{
    return is_small(budget) ? KL_SERVER_SMALL_HELD_BYTES : KL_HTTP_HELD_BYTES;
}

struct kl_server_rule_bytes kl_server_rule_bytes_for(uint64_t budget)
{
    const struct kl_server_rule_bytes usual = {(size_t)16 << 20, KL_DEFAULT_RULE_BYTES},
                                      small = {(size_t)1 << 20, (size_t)512 << 10};
    return is_small(budget) ? small : usual;
}

size_t kl_server_answer_bytes_for(uint64_t budget)
{
    return is_small(budget) ? (size_t)512 << 10 : (size_t)4 << 20;
}

size_t kl_server_connection_bytes(size_t max_connections)
{
    return kl_http_connection_bytes(max_connections);
}

bool kl_server_parse_context_policy(const char *name, enum kl_context_policy *policy)
{
    return kl_context_policy_parse(name, policy);
}

/* ---- running --------------------------------------------------------------------------------- */

uint16_t kl_server_port(const struct kl_server *server)
{
    return kl_http_port(server->http);
}

const char *kl_server_url(const struct kl_server *server)
{
    return kl_http_url(server->http);
}

bool kl_server_is_local(const struct kl_server *server)
{
    return kl_http_is_local(server->http);
}

bool kl_server_downloads(const struct kl_server *server)
{
    return server->service.pull != NULL;
}

enum kl_status kl_server_set_keys(struct kl_server *server, const struct kl_api_key *api_keys,
                                  size_t n_api_keys, struct kl_error *err)
{
    return kl_http_set_keys(server->http, api_keys, n_api_keys, err);
}

void kl_server_loading(struct kl_server *server, const char *stage, uint64_t done, uint64_t total)
{
    kl_startup_progress(&server->service.startup, stage, done, total);
}

void kl_server_ready(struct kl_server *server, const struct kl_served *models, size_t n_models)
{
    kl_startup_ready(&server->service.startup, models, n_models);
}

void kl_server_failed(struct kl_server *server, const struct kl_error *error)
{
    kl_startup_fail(&server->service.startup, error);
}

enum kl_status kl_server_run(struct kl_server *server, struct kl_error *err)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    struct kl_watch *signals[N_SIGNALS] = {NULL};
    enum kl_status status = KL_OK;
    /* writing to a client that disconnected must return an error, not end the process */
    sigaction(SIGPIPE, &ignore, &before);
    for (size_t i = 0; i < N_SIGNALS && status == KL_OK; i++) {
        signals[i] = kl_watch_signal(server->loop, signal_numbers[i], on_signal, server);
        if (signals[i] == NULL)
            status = kl_fail(err, KL_ERR_IO, "the signals cannot be handled");
    }
    if (status == KL_OK)
        status = kl_loop_run(server->loop, err);
    for (size_t i = 0; i < N_SIGNALS; i++)
        kl_watch_remove(signals[i]);
    sigaction(SIGPIPE, &before, NULL);
    return status;
}

void kl_server_stop(struct kl_server *server)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written = write(server->stop_fd, &one, sizeof one);
    (void)written; /* the counter of an eventfd is only full if it was written before, so it is
                      readable */
    errno = saved;
}
