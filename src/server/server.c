#include "server/server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/worker.h"
#include "http/listen.h"
#include "server/server_state.h"
#include "service/drain.h"
#include "service/generation.h"
#include "service/intake.h"
#include "json/library_memory.h"

/* Out of descriptors: how long nothing is accepted. */
#define ACCEPT_PAUSE_US 100000L
/* Descriptors beside the connections: files, sockets, what a download needs. */
#define OTHER_DESCRIPTORS 64

static const int signal_numbers[KL_N_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

/* ---- stopping -------------------------------------------------------------------------------- */

void kl_server_start_tick(struct kl_server *server)
{
    const struct timeval period = {.tv_usec = KL_TICK_US};
    if (!event_pending(server->tick, EV_TIMEOUT, NULL))
        event_add(server->tick, &period);
}

static void on_stop(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    uint64_t value;
    if (read(fd, &value, sizeof value) == sizeof value)
        kl_drain_begin(context);
}

static void reload(struct kl_server *server)
{
    if (server->options.reload == NULL)
        return;
    kl_systemd_reloading(server);
    server->options.reload(server->options.reload_context);
    if (!server->stopping && !kl_server_is_loading(server))
        kl_systemd_ready(server);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    (void)what;
    struct kl_server *server = context;
    if (number == SIGHUP) {
        reload(server);
    } else if (server->stopping) {
        kl_warning("%s again: stopping at once", strsignal((int)number));
        event_base_loopbreak(server->base);
    } else {
        kl_info("%s: no new requests are taken", strsignal((int)number));
        kl_drain_begin(server);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    kl_generations_tick(server);
    if (server->stopping)
        kl_drain_tick(server);
    if (server->generations != NULL || server->stopping)
        kl_server_start_tick(server);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_engine(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    kl_engine_wake_clear(server->served.engine);
    kl_generations_poll(server);
}

static void on_worker(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    kl_worker_collect(server->worker);
}

static void stop_for_error(struct kl_server *server, const struct kl_error *err)
{
    struct kl_api_error error;
    kl_api_fail(&error, 503, "loading_failed", NULL, "the model can not be loaded: %.400s",
                err->text);
    kl_generations_cut(server, &error);
    kl_drain_begin(server);
}

/* The start is over. From here on only this thread knows of it. */
static void on_startup(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    struct kl_startup_state state;
    struct kl_error err;
    event_del(server->startup_event);
    kl_startup_read(&server->startup, &state);
    if (server->stopping)
        return;
    if (state.phase == KL_STARTUP_FAILED) {
        stop_for_error(server, &state.error);
        return;
    }
    server->engine_event = event_new(server->base, kl_engine_wake_fd(state.served.engine),
                                     EV_READ | EV_PERSIST, on_engine, server);
    if (server->engine_event == NULL || event_add(server->engine_event, NULL) != 0) {
        kl_fail_memory(&err, "the event loop", 0);
        kl_err("%s", err.text);
        stop_for_error(server, &err);
        return;
    }
    server->served = state.served;
    kl_info("ready (%.2f s after the start): %s", kl_seconds_since(server->start_ns),
            server->served.model_name);
    kl_systemd_ready(server);
    kl_generations_begin(server);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int peer_len, void *context)
{
    (void)listener;
    (void)peer_len;
    struct kl_server *server = context;
    if (server->accept_failed)
        kl_info("connections are accepted again");
    server->accept_failed = false;
    kl_connection_open(server, fd, peer);
}

static void on_accept_again(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    for (size_t i = 0; i < server->n_listeners && !(server->stopping && server->hands_over); i++)
        evconnlistener_enable(server->listeners[i]);
}

/* Mostly: out of descriptors. Trying again at once would spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct kl_server *server = context;
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};
    if (!server->accept_failed)
        kl_warning("a connection can not be accepted: %m; trying on, without further words");
    server->accept_failed = true;
    server->connection_counts.accept_failures++;
    evconnlistener_disable(listener);
    event_add(server->accept_again, &pause);
}

static void on_make_room(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    kl_connections_make_room(context);
}

static void on_libevent_log(int severity, const char *text)
{
    kl_log(severity >= EVENT_LOG_ERR ? KL_LOG_ERROR : KL_LOG_DEBUG, "libevent: %s", text);
}

/* ---- opening --------------------------------------------------------------------------------- */

static unsigned seconds_or(unsigned given, unsigned otherwise)
{
    return given != 0 ? given : otherwise;
}

static void set_defaults(struct kl_server_options *o)
{
    if (o->max_connections == 0)
        o->max_connections = KL_SERVER_CONNECTIONS;
    if (o->held_bytes == 0)
        o->held_bytes = KL_SERVER_HELD_BYTES;
    o->header_seconds = seconds_or(o->header_seconds, KL_SERVER_HEADER_SECONDS);
    o->body_seconds = seconds_or(o->body_seconds, KL_SERVER_BODY_SECONDS);
    o->idle_seconds = seconds_or(o->idle_seconds, KL_SERVER_IDLE_SECONDS);
    o->reader_seconds = seconds_or(o->reader_seconds, KL_SERVER_READER_SECONDS);
    o->drain_seconds = seconds_or(o->drain_seconds, KL_SERVER_DRAIN_SECONDS);
}

/* As many connections as may be open need as many descriptors, or it is fewer connections. */
static void fit_descriptors(struct kl_server_options *o)
{
    struct rlimit limit;
    rlim_t wanted = o->max_connections + KL_MAX_REFUSED + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = before; /* a service manager may forbid the call */
    if (limit.rlim_cur >= wanted)
        return;
    rlim_t beside = KL_MAX_REFUSED + OTHER_DESCRIPTORS;
    o->max_connections = limit.rlim_cur > beside ? (size_t)(limit.rlim_cur - beside) : 1;
    kl_warning("this process may have %ju open files, which is room for %zu connections: raise the "
               "limit (ulimit -Hn, LimitNOFILE=), or lower --max-connections",
               (uintmax_t)limit.rlim_cur, o->max_connections);
}

static enum kl_status copy_options(struct kl_server *server,
                                   const struct kl_server_options *options, const char *host,
                                   struct kl_error *err)
{
    server->options = *options;
    set_defaults(&server->options);
    if (options->no_auth && options->n_api_keys > 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "API keys and --no-auth exclude each other: give one of them");

    enum kl_status status =
        kl_access_init(&server->access, host, options->allowed_hosts, options->n_allowed_hosts,
                       options->api_keys, options->n_api_keys, err);
    if (status != KL_OK)
        return status;
    /* kept in access, as they are needed */
    server->options.host = NULL;
    server->options.api_keys = NULL;
    server->options.allowed_hosts = NULL;
    return KL_OK;
}

/* "http://127.0.0.1:7860": 0.0.0.0 and :: are no addresses to open in a browser. */
static void set_url(struct kl_server *server, const char *host, uint16_t port)
{
    const char *shown =
        strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "127.0.0.1" : host;
    server->port = port;
    snprintf(server->url, sizeof server->url,
             strchr(shown, ':') != NULL ? "http://[%.250s]:%u" : "http://%.250s:%u", shown, port);
}

/* Our own sockets, or those of a service manager. */
static enum kl_status get_sockets(struct kl_server *server, const char *host, uint16_t port,
                                  int *fds, size_t *n, struct kl_error *err)
{
    const struct kl_server_options *o = &server->options;
    bool only_loopback = o->n_api_keys == 0 && !o->no_auth;
    char adopted[KL_LISTEN_HOST];
    *n = kl_systemd_sockets(fds, KL_MAX_LISTENERS);
    server->hands_over = *n > 0;
    for (size_t i = *n; i-- > 0;) {
        enum kl_status status = kl_listen_adopt(fds[i], only_loopback, adopted, &port, err);
        if (status != KL_OK)
            return status;
        host = adopted;
    }
    if (*n == 0) {
        enum kl_status status =
            kl_listen(host, &port, only_loopback, fds, KL_MAX_LISTENERS, n, err);
        if (status != KL_OK)
            return status;
    }
    set_url(server, host, port);
    return KL_OK;
}

static enum kl_status open_listeners(struct kl_server *server, const char *host, uint16_t port,
                                     struct kl_error *err)
{
    int fds[KL_MAX_LISTENERS];
    size_t n = 0;
    enum kl_status status = get_sockets(server, host, port, fds, &n, err);
    for (size_t i = 0; i < n; i++) {
        struct evconnlistener *listener =
            status == KL_OK
                ? evconnlistener_new(server->base, on_accept, server,
                                     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fds[i])
                : NULL;
        if (listener == NULL) {
            close(fds[i]);
            if (status == KL_OK)
                status = kl_fail_memory(err, "a listening socket", 0);
            continue;
        }
        evconnlistener_set_error_cb(listener, on_accept_error);
        server->listeners[server->n_listeners++] = listener;
    }
    return status;
}

static enum kl_status open_events(struct kl_server *server, struct kl_error *err)
{
    server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->stop_fd < 0)
        return kl_fail_errno(err, "an eventfd");
    event_set_log_callback(on_libevent_log);
    server->base = event_base_new();
    if (server->base == NULL || event_base_priority_init(server->base, 2) != 0)
        return kl_fail(err, KL_ERR_IO, "libevent cannot start");
    server->startup_event =
        event_new(server->base, server->startup.fd, EV_READ | EV_PERSIST, on_startup, server);
    server->stop_event =
        event_new(server->base, server->stop_fd, EV_READ | EV_PERSIST, on_stop, server);
    server->worker_event = event_new(server->base, kl_worker_fd(server->worker),
                                     EV_READ | EV_PERSIST, on_worker, server);
    server->tick = evtimer_new(server->base, on_tick, server);
    server->accept_again = evtimer_new(server->base, on_accept_again, server);
    server->make_room = event_new(server->base, -1, 0, on_make_room, server);
    if (server->startup_event == NULL || server->stop_event == NULL || server->tick == NULL ||
        server->accept_again == NULL || server->make_room == NULL || server->worker_event == NULL ||
        event_priority_set(server->make_room, 0) != 0 ||
        event_add(server->startup_event, NULL) != 0 || event_add(server->worker_event, NULL) != 0 ||
        event_add(server->stop_event, NULL) != 0)
        return kl_fail_memory(err, "the event loop", 0);

    return kl_systemd_open(server, err);
}

/* "[::1]" as in a URL is the address "::1". */
static const char *without_brackets(const char *host, char *out, size_t size)
{
    size_t len = strlen(host);
    if (len < 3 || host[0] != '[' || host[len - 1] != ']' || len - 1 > size)
        return host;
    memcpy(out, host + 1, len - 2);
    out[len - 2] = '\0';
    return out;
}

enum kl_status kl_server_open(const struct kl_server_options *options, struct kl_server **server,
                              struct kl_error *err)
{
    char plain[KL_LISTEN_HOST];
    const char *host = options->host != NULL ? options->host : "127.0.0.1";
    host = without_brackets(host, plain, sizeof plain);
    *server = NULL;
    struct kl_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return kl_fail_memory(err, "the server", sizeof *s);
    s->stop_fd = -1;
    s->startup.fd = -1;
    s->start_ns = kl_now_ns();
    kl_metrics_init(&s->metrics);
    kl_library_memory_watch();
    if (getrandom(&s->id_prefix, sizeof s->id_prefix, GRND_NONBLOCK) < 0)
        s->id_prefix = s->start_ns;

    enum kl_status status = kl_startup_init(&s->startup, err);
    if (status == KL_OK)
        status = kl_worker_open(KL_SERVER_READING_BYTES, &s->worker, err);
    if (status == KL_OK)
        status = copy_options(s, options, host, err);
    if (status == KL_OK)
        status = open_events(s, err);
    if (status == KL_OK)
        fit_descriptors(&s->options);
    if (status == KL_OK)
        status = open_listeners(s, host, options->port, err);
    if (status != KL_OK) {
        kl_server_close(s);
        return status;
    }
    *server = s;
    return KL_OK;
}

static bool is_small(uint64_t budget)
{
    return budget != 0 && budget < KL_SERVER_SMALL_BUDGET;
}

size_t kl_server_connections_for(uint64_t budget)
{
    return is_small(budget) ? KL_SERVER_SMALL_CONNECTIONS : KL_SERVER_CONNECTIONS;
}

size_t kl_server_held_bytes_for(uint64_t budget)
{
    return is_small(budget) ? KL_SERVER_SMALL_HELD_BYTES : KL_SERVER_HELD_BYTES;
}

size_t kl_server_connection_bytes(size_t max_connections)
{
    return (max_connections + KL_MAX_REFUSED) * KL_SERVER_CONNECTION_BYTES;
}

uint16_t kl_server_port(const struct kl_server *server)
{
    return server->port;
}

const char *kl_server_url(const struct kl_server *server)
{
    return server->url;
}

bool kl_server_is_local(const struct kl_server *server)
{
    bool local = true;
    for (size_t i = 0; i < server->n_listeners; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        int fd = evconnlistener_get_fd(server->listeners[i]);
        local = local && getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
                kl_is_loopback((const struct sockaddr *)&address);
    }
    return local;
}

void kl_server_loading(struct kl_server *server, enum kl_loading_stage stage, uint64_t done,
                       uint64_t total)
{
    kl_startup_tell(&server->startup, stage, done, total);
}

void kl_server_ready(struct kl_server *server, const struct kl_served *served)
{
    kl_startup_ready(&server->startup, served);
}

void kl_server_failed(struct kl_server *server, const struct kl_error *error)
{
    kl_startup_fail(&server->startup, error);
}

enum kl_status kl_server_run(struct kl_server *server, struct kl_error *err)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    enum kl_status status = KL_OK;
    /* writing to a client that left is an error code, not the end of the process */
    sigaction(SIGPIPE, &ignore, &before);
    for (size_t i = 0; i < KL_N_SIGNALS && status == KL_OK; i++) {
        server->signals[i] = evsignal_new(server->base, signal_numbers[i], on_signal, server);
        if (server->signals[i] == NULL || evsignal_add(server->signals[i], NULL) != 0)
            status = kl_fail(err, KL_ERR_IO, "the signals can not be handled");
    }
    if (status == KL_OK && event_base_dispatch(server->base) < 0)
        status = kl_fail_errno(err, "the event loop ended");

    for (size_t i = 0; i < KL_N_SIGNALS; i++) {
        if (server->signals[i] != NULL)
            event_free(server->signals[i]);
        server->signals[i] = NULL;
    }
    sigaction(SIGPIPE, &before, NULL);
    return status;
}

enum kl_status kl_server_set_keys(struct kl_server *server, const char *const *api_keys,
                                  size_t n_api_keys, struct kl_error *err)
{
    if (n_api_keys == 0 || server->access.n_keys == 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "a server keeps having keys, or having none, as long as it runs");
    return kl_access_set_keys(&server->access, api_keys, n_api_keys, err);
}

void kl_server_stop(struct kl_server *server)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written = write(server->stop_fd, &one, sizeof one);
    (void)written; /* a counter that is full has been written to before: it is read anyway */
    errno = saved;
}

void kl_server_close(struct kl_server *server)
{
    if (server == NULL)
        return;
    kl_worker_close(server->worker); /* what it works on belongs to those two */
    kl_generations_forget(server);
    kl_connections_close(server);
    for (size_t i = 0; i < server->n_listeners; i++)
        evconnlistener_free(server->listeners[i]);
    kl_systemd_close(server);
    struct event *const events[] = {
        server->startup_event, server->engine_event, server->worker_event, server->stop_event,
        server->tick,          server->accept_again, server->make_room};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i] != NULL)
            event_free(events[i]);
    }
    if (server->base != NULL)
        event_base_free(server->base);
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    kl_access_release(&server->access);
    kl_startup_release(&server->startup);
    free(server);
}
