#include "server/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/generation.h"
#include "server/listen.h"
#include "server/server_state.h"

#define TICK_US 250000L
/* After answers were cut at the end of a stop: for their last bytes to leave. */
#define FLUSH_NS 500000000u
/* Out of descriptors: how long nothing is accepted. */
#define ACCEPT_PAUSE_US 100000L

/* ---- stopping -------------------------------------------------------------------------------- */

void kl_server_check_stopped(struct kl_server *server)
{
    if (server->stopping && server->exchanges == NULL)
        event_base_loopbreak(server->base);
}

void kl_server_start_tick(struct kl_server *server)
{
    const struct timeval period = {.tv_usec = TICK_US};
    if (!event_pending(server->tick, EV_TIMEOUT, NULL))
        event_add(server->tick, &period);
}

/* Ends what still runs when the time to finish is over, and all of it a little later. */
static void stop_in_time(struct kl_server *server)
{
    uint64_t passed = kl_now_ns() - server->stop_ns;
    if (passed >= server->patience_ns && !server->cut) {
        struct kl_api_error error;
        kl_api_fail(&error, 503, "stopping", NULL, "the server is being stopped");
        server->cut = true;
        kl_generations_cut(server, &error);
    }
    if (passed >= server->patience_ns + FLUSH_NS)
        event_base_loopbreak(server->base);
}

static void begin_stop(struct kl_server *server)
{
    if (server->stopping)
        return;
    server->stopping = true;
    server->stop_ns = kl_now_ns();
    /* what waits for the model would not finish */
    if (!kl_server_is_loading(server))
        server->patience_ns = (uint64_t)server->options.stop_seconds * 1000000000u;
    for (size_t i = 0; i < server->n_listeners; i++)
        evhttp_del_accept_socket(server->http, server->listeners[i]);
    server->n_listeners = 0;
    if (server->exchanges != NULL && server->patience_ns > 0)
        kl_info("stopping; running answers have %u s to finish", server->options.stop_seconds);
    stop_in_time(server);
    kl_server_start_tick(server);
    kl_server_check_stopped(server);
}

static void on_stop(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    uint64_t value;
    if (read(fd, &value, sizeof value) == sizeof value)
        begin_stop(context);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    (void)what;
    struct kl_server *server = context;
    if (server->stopping) {
        kl_warning("%s again: stopping at once", strsignal((int)number));
        event_base_loopbreak(server->base);
        return;
    }
    kl_info("%s: no new requests are taken", strsignal((int)number));
    begin_stop(server);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    kl_generations_tick(server);
    if (server->stopping)
        stop_in_time(server);
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

static void stop_for_error(struct kl_server *server, const struct kl_error *err)
{
    struct kl_api_error error;
    kl_api_fail(&error, 503, "loading_failed", NULL, "the model can not be loaded: %.400s",
                err->text);
    kl_generations_cut(server, &error);
    begin_stop(server);
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
    kl_generations_begin(server);
}

static void on_accept_again(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    for (size_t i = 0; i < server->n_listeners; i++)
        evconnlistener_enable(evhttp_bound_socket_get_listener(server->listeners[i]));
}

/* Mostly: out of descriptors. Trying again at once would spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct kl_server *server = context;
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};
    kl_warning("a connection can not be accepted: %m");
    evconnlistener_disable(listener);
    event_add(server->accept_again, &pause);
}

/* evhttp sets no bound to the line that begins a chunk, nor to what comes while it answers. Cut
 * off, the connection ends as if the client had left; with a reset, for he may still be sending. */
static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *context)
{
    (void)info;
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = bufferevent_getfd(context);
    if (evbuffer_get_length(input) > KL_HTTP_HARD_MAX_BODY + KL_HTTP_HARD_MAX_HEADER) {
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        shutdown(fd, SHUT_RDWR);
    }
}

static struct bufferevent *new_bufferevent(struct event_base *base, void *context)
{
    (void)context;
    struct bufferevent *b = bufferevent_socket_new(base, -1, 0);
    if (b != NULL && evbuffer_add_cb(bufferevent_get_input(b), on_input, b) == NULL) {
        bufferevent_free(b);
        b = NULL; /* evhttp then makes one itself */
    }
    return b;
}

static void on_libevent_log(int severity, const char *text)
{
    kl_log(severity >= EVENT_LOG_ERR ? KL_LOG_ERROR : KL_LOG_DEBUG, "libevent: %s", text);
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum kl_status copy_options(struct kl_server *server,
                                   const struct kl_server_options *options, struct kl_error *err)
{
    const char *host = options->host != NULL ? options->host : "127.0.0.1";
    server->options = *options;
    if (server->options.stop_seconds == 0)
        server->options.stop_seconds = KL_SERVER_STOP_SECONDS;
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

static enum kl_status open_listeners(struct kl_server *server, const char *host, uint16_t port,
                                     struct kl_error *err)
{
    const struct kl_server_options *o = &server->options;
    int fds[KL_MAX_LISTENERS];
    size_t n;
    enum kl_status status =
        kl_listen(host, &port, o->n_api_keys == 0 && !o->no_auth, fds, KL_MAX_LISTENERS, &n, err);
    if (status != KL_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        struct evhttp_bound_socket *bound =
            status == KL_OK ? evhttp_accept_socket_with_handle(server->http, fds[i]) : NULL;
        if (bound == NULL) {
            close(fds[i]);
            status = kl_fail_memory(err, "a listening socket", 0);
            continue;
        }
        evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(bound), on_accept_error);
        server->listeners[server->n_listeners++] = bound;
    }
    server->port = port;
    /* 0.0.0.0 and :: are no addresses to open in a browser */
    const char *shown =
        strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "127.0.0.1" : host;
    snprintf(server->url, sizeof server->url,
             strchr(shown, ':') != NULL ? "http://[%.250s]:%u" : "http://%.250s:%u", shown, port);
    return status;
}

static enum kl_status open_events(struct kl_server *server, struct kl_error *err)
{
    server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->stop_fd < 0)
        return kl_fail_errno(err, "an eventfd");
    event_set_log_callback(on_libevent_log);
    server->base = event_base_new();
    if (server->base == NULL)
        return kl_fail(err, KL_ERR_IO, "libevent can not start");
    server->http = evhttp_new(server->base);
    server->startup_event =
        event_new(server->base, server->startup.fd, EV_READ | EV_PERSIST, on_startup, server);
    server->stop_event =
        event_new(server->base, server->stop_fd, EV_READ | EV_PERSIST, on_stop, server);
    server->tick = evtimer_new(server->base, on_tick, server);
    server->accept_again = evtimer_new(server->base, on_accept_again, server);
    if (server->http == NULL || server->startup_event == NULL || server->stop_event == NULL ||
        server->tick == NULL || server->accept_again == NULL ||
        event_add(server->startup_event, NULL) != 0 || event_add(server->stop_event, NULL) != 0)
        return kl_fail_memory(err, "the event loop", 0);

    evhttp_set_bevcb(server->http, new_bufferevent, NULL);
    evhttp_set_gencb(server->http, kl_http_handle, server);
    evhttp_set_max_headers_size(server->http, (ev_ssize_t)KL_HTTP_HARD_MAX_HEADER);
    evhttp_set_max_body_size(server->http, (ev_ssize_t)KL_HTTP_HARD_MAX_BODY);
    evhttp_set_timeout(server->http, KL_HTTP_IDLE_SECONDS);
    /* all methods, also unknown ones, come to us and are answered in our words */
    evhttp_set_allowed_methods(server->http, 0xffff);
    /* a body that is too large is read to its end, or the client would see a reset, not the 413 */
    evhttp_set_flags(server->http, EVHTTP_SERVER_LINGERING_CLOSE);
    return KL_OK;
}

enum kl_status kl_server_open(const struct kl_server_options *options, struct kl_server **server,
                              struct kl_error *err)
{
    const char *host = options->host != NULL ? options->host : "127.0.0.1";
    *server = NULL;
    struct kl_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return kl_fail_memory(err, "the server", sizeof *s);
    s->stop_fd = -1;
    s->startup.fd = -1;
    s->start_ns = kl_now_ns();
    kl_metrics_init(&s->metrics);
    if (getrandom(&s->id_prefix, sizeof s->id_prefix, GRND_NONBLOCK) < 0)
        s->id_prefix = s->start_ns;

    enum kl_status status = kl_startup_init(&s->startup, err);
    if (status == KL_OK)
        status = copy_options(s, options, err);
    if (status == KL_OK)
        status = open_events(s, err);
    if (status == KL_OK)
        status = open_listeners(s, host, options->port, err);
    if (status != KL_OK) {
        kl_server_close(s);
        return status;
    }
    *server = s;
    return KL_OK;
}

uint16_t kl_server_port(const struct kl_server *server)
{
    return server->port;
}

const char *kl_server_url(const struct kl_server *server)
{
    return server->url;
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
    static const int numbers[2] = {SIGINT, SIGTERM};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    enum kl_status status = KL_OK;
    /* writing to a client that left is an error code, not the end of the process */
    sigaction(SIGPIPE, &ignore, &before);
    for (size_t i = 0; i < 2 && status == KL_OK; i++) {
        server->signals[i] = evsignal_new(server->base, numbers[i], on_signal, server);
        if (server->signals[i] == NULL || evsignal_add(server->signals[i], NULL) != 0)
            status = kl_fail(err, KL_ERR_IO, "the signals can not be handled");
    }
    if (status == KL_OK && event_base_dispatch(server->base) < 0)
        status = kl_fail_errno(err, "the event loop ended");

    for (size_t i = 0; i < 2; i++) {
        if (server->signals[i] != NULL)
            event_free(server->signals[i]);
        server->signals[i] = NULL;
    }
    sigaction(SIGPIPE, &before, NULL);
    return status;
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
    kl_generations_forget(server);
    kl_exchanges_forget(server);
    if (server->http != NULL)
        evhttp_free(server->http);
    struct event *const events[] = {server->startup_event, server->engine_event, server->stop_event,
                                    server->tick, server->accept_again};
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
