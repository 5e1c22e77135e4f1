#include "http/accept.h"

#include <event2/listener.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "http/http_state.h"
#include "http/listen.h"

/* The pause after accepting failed, mostly for lack of descriptors. */
#define ACCEPT_PAUSE_US 100000L
/* Descriptors in addition to the connections: files, sockets, what a download needs. */
#define OTHER_DESCRIPTORS 64

/* Checks whether there is room for a connection from this address; may close another one for it. */
static enum kl_status admit(struct kl_http *http, const struct sockaddr *peer,
                            const struct in6_addr *address, struct kl_api_error *error)
{
    const struct kl_http_options *o = &http->options;
    size_t n = 0, n_here = 0;
    for (const struct kl_connection *c = http->connections; c != NULL; c = c->next) {
        n += !c->refused;
        n_here += !c->refused && memcmp(&c->peer, address, sizeof *address) == 0;
    }
    size_t limit_here = o->max_connections_per_address;
    if (limit_here == 0)
        limit_here = kl_is_loopback(peer) ? SIZE_MAX : KL_HTTP_CONNECTIONS_PER_ADDRESS;
    bool full_here = n_here >= limit_here;
    if (!full_here && n < o->max_connections)
        return KL_OK;
    struct kl_connection *other = kl_holders_find_evictable(http, full_here ? address : NULL);
    if (other != NULL) {
        http->counts.evicted++;
        kl_connection_close(other, NULL);
        return KL_OK;
    }
    http->counts.refused++;
    kl_api_fail(error, 503, "too_many_connections", NULL,
                full_here ? "%zu connections from this address are being answered, which is all it "
                            "may have; close some, or try again later"
                          : "%zu connections are being answered, which is all this server takes; "
                            "try again later",
                full_here ? n_here : n);
    error->retry_after = 1;
    return KL_ERR_BUSY;
}

static void accept_connection(struct kl_http *http, int fd, const struct sockaddr *peer)
{
    struct kl_api_error error;
    struct in6_addr address = kl_holders_address(peer);
    size_t n_refused = 0;
    bool refused = admit(http, peer, &address, &error) != KL_OK;
    http->counts.accepted++;
    for (const struct kl_connection *c = http->connections; c != NULL; c = c->next)
        n_refused += c->refused;
    if (refused && n_refused >= KL_MAX_REFUSED)
        close(fd);
    else if (!kl_connection_open(http, fd, &address, refused ? &error : NULL))
        kl_err("no memory for a connection");
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int peer_len, void *context)
{
    (void)listener;
    (void)peer_len;
    struct kl_http *http = context;
    if (http->accept_failed)
        kl_info("connections are accepted again");
    http->accept_failed = false;
    accept_connection(http, fd, peer);
}

static void on_accept_again(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_http *http = context;
    for (size_t i = 0; i < http->n_listeners && !(http->draining && http->n_handed_over > 0); i++)
        evconnlistener_enable(http->listeners[i]);
}

/* Mostly for lack of descriptors. Trying again at once would spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct kl_http *http = context;
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};
    if (!http->accept_failed)
        kl_warning("a connection cannot be accepted: %m; retrying, further failures are not "
                   "logged");
    http->accept_failed = true;
    http->counts.accept_failures++;
    evconnlistener_disable(listener);
    event_add(http->accept_again, &pause);
}

void kl_accept_fit_descriptors(struct kl_http_options *o)
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
    rlim_t others = KL_MAX_REFUSED + OTHER_DESCRIPTORS;
    o->max_connections = limit.rlim_cur > others ? (size_t)(limit.rlim_cur - others) : 1;
    kl_warning("this process may have %ju open files, which is room for %zu connections: raise the "
               "limit (ulimit -Hn, LimitNOFILE=), or lower --max-connections",
               (uintmax_t)limit.rlim_cur, o->max_connections);
}

/* Sets "http://127.0.0.1:7860": a browser cannot open 0.0.0.0 and ::. */
static void set_url(struct kl_http *http, const char *host, uint16_t port)
{
    const char *shown =
        strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "127.0.0.1" : host;
    http->port = port;
    snprintf(http->url, sizeof http->url,
             strchr(shown, ':') != NULL ? "http://[%.250s]:%u" : "http://%.250s:%u", shown, port);
}

/* Listens on these descriptors, which are closed if that fails. */
static enum kl_status add_listeners(struct kl_http *http, const int *fds, size_t n,
                                    enum kl_status status, struct kl_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct evconnlistener *listener =
            status == KL_OK
                ? evconnlistener_new(http->base, on_accept, http,
                                     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fds[i])
                : NULL;
        if (listener == NULL) {
            close(fds[i]);
            if (status == KL_OK)
                status = kl_fail_memory(err, "a listening socket", 0);
            continue;
        }
        evconnlistener_set_error_cb(listener, on_accept_error);
        http->listeners[http->n_listeners++] = listener;
    }
    return status;
}

/* Adopts the sockets of another process; the url is that of the first one. */
static enum kl_status adopt_sockets(struct kl_http *http, bool only_loopback, struct kl_error *err)
{
    const struct kl_http_options *o = &http->options;
    char host[KL_LISTEN_HOST];
    uint16_t port = 0;
    enum kl_status status = KL_OK;
    for (size_t i = o->n_sockets; i-- > 0 && status == KL_OK;)
        status = kl_listen_adopt(o->sockets[i], only_loopback, host, &port, err);
    if (status == KL_OK)
        set_url(http, host, port);
    status = add_listeners(http, o->sockets, o->n_sockets, status, err);
    http->n_handed_over = http->n_listeners;
    return status;
}

static enum kl_status listen_on(struct kl_http *http, struct kl_listen_address *address,
                                bool only_loopback, struct kl_error *err)
{
    int fds[KL_HTTP_MAX_LISTENERS];
    size_t n = 0, room = KL_HTTP_MAX_LISTENERS - http->n_listeners;
    enum kl_status status = room > 0 ? kl_listen(address, only_loopback, fds, room, &n, err)
                                     : kl_fail(err, KL_ERR_LIMIT,
                                               "there is no room for %s port %u: this server "
                                               "listens on %d sockets at most",
                                               address->host, address->port, KL_HTTP_MAX_LISTENERS);
    return add_listeners(http, fds, n, status, err);
}

enum kl_status kl_accept_open(struct kl_http *http, struct kl_listen_address *addresses, size_t n,
                              struct kl_error *err)
{
    const struct kl_http_options *o = &http->options;
    bool only_loopback = o->n_api_keys == 0 && !o->no_auth;
    enum kl_status status = KL_OK;
    if (o->n_sockets > 0) {
        status = adopt_sockets(http, only_loopback, err);
    } else {
        status = listen_on(http, &addresses[0], only_loopback, err);
        set_url(http, addresses[0].host, addresses[0].port);
    }
    for (size_t i = 1; i < n && status == KL_OK; i++)
        status = listen_on(http, &addresses[i], only_loopback, err);
    return status;
}

enum kl_status kl_accept_prepare(struct kl_http *http, struct kl_error *err)
{
    http->accept_again = evtimer_new(http->base, on_accept_again, http);
    return http->accept_again != NULL ? KL_OK : kl_fail_memory(err, "the event loop", 0);
}

void kl_accept_drain(struct kl_http *http)
{
    if (http->n_handed_over == 0)
        return;
    for (size_t i = 0; i < http->n_handed_over; i++)
        evconnlistener_disable(http->listeners[i]);
    while (http->n_listeners > http->n_handed_over)
        evconnlistener_free(http->listeners[--http->n_listeners]);
}

bool kl_accept_is_local(const struct kl_http *http)
{
    bool local = true;
    for (size_t i = 0; i < http->n_listeners; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        int fd = evconnlistener_get_fd(http->listeners[i]);
        local = local && getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
                kl_is_loopback((const struct sockaddr *)&address);
    }
    return local;
}

void kl_accept_close(struct kl_http *http)
{
    for (size_t i = 0; i < http->n_listeners; i++)
        evconnlistener_free(http->listeners[i]);
    http->n_listeners = 0;
    if (http->accept_again != NULL)
        event_free(http->accept_again);
}
