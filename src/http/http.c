#include "http/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "http/accept.h"
#include "http/http_state.h"
#include "http/judge.h"
#include "http/listen.h"
#include "http/loop_base.h"

static const struct kl_connection_events connection_events = {
    .begin = kl_exchange_begin,
    .judge = kl_judge,
    .handle = kl_exchange_handle,
    .refuse = kl_exchange_refuse,
    .drained = kl_exchange_drained,
    .finished = kl_exchange_finished,
    .lost = kl_exchange_lost,
};

static void on_make_room(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    kl_connections_make_room(context);
}

static void set_seconds(unsigned *seconds, unsigned otherwise)
{
    if (*seconds == 0)
        *seconds = otherwise;
}

static void set_defaults(struct kl_http_options *o)
{
    if (o->max_connections == 0)
        o->max_connections = KL_HTTP_CONNECTIONS;
    if (o->held_bytes == 0)
        o->held_bytes = KL_HTTP_HELD_BYTES;
    set_seconds(&o->header_seconds, KL_HTTP_HEADER_SECONDS);
    set_seconds(&o->body_seconds, KL_HTTP_BODY_SECONDS);
    set_seconds(&o->idle_seconds, KL_HTTP_IDLE_SECONDS);
    set_seconds(&o->reader_seconds, KL_HTTP_READER_SECONDS);
}

static enum kl_status copy_options(struct kl_http *http, const struct kl_http_options *options,
                                   const char *host, struct kl_error *err)
{
    http->options = *options;
    set_defaults(&http->options);
    if (options->no_auth && options->n_api_keys > 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "API keys and --no-auth exclude each other: give one of them");

    enum kl_status status =
        kl_access_init(&http->access, host, options->allowed_hosts, options->n_allowed_hosts,
                       options->api_keys, options->n_api_keys, err);
    if (status != KL_OK)
        return status;
    /* access has copies */
    http->options.host = NULL;
    http->options.api_keys = NULL;
    http->options.allowed_hosts = NULL;
    return KL_OK;
}

static enum kl_status open_events(struct kl_http *http, struct kl_error *err)
{
    http->make_room = event_new(http->base, -1, 0, on_make_room, http);
    if (http->make_room == NULL || event_priority_set(http->make_room, KL_LOOP_URGENT) != 0)
        return kl_fail_memory(err, "the event loop", 0);
    return kl_accept_prepare(http, err);
}

/* Removes the brackets that an IPv6 address has in a URL: "[::1]". */
static const char *without_brackets(const char *host, char *out, size_t size)
{
    size_t len = strlen(host);
    if (len < 3 || host[0] != '[' || host[len - 1] != ']' || len - 1 > size)
        return host;
    memcpy(out, host + 1, len - 2);
    out[len - 2] = '\0';
    return out;
}

enum kl_status kl_http_open(const struct kl_http_options *options, struct kl_loop *loop,
                            const struct kl_routes *routes, void *application,
                            void (*idle)(void *application), struct kl_http **http,
                            struct kl_error *err)
{
    char plain[KL_LISTEN_HOST];
    const char *host = options->host != NULL ? options->host : "127.0.0.1";
    host = without_brackets(host, plain, sizeof plain);
    struct kl_http *h = *http = calloc(1, sizeof *h);
    if (h == NULL)
        return kl_fail_memory(err, "the server", sizeof *h);
    h->base = kl_loop_base(loop);
    h->routes = routes;
    h->application = application;
    h->idle = idle;
    h->connection_events = &connection_events;
    if (getrandom(&h->id_prefix, sizeof h->id_prefix, GRND_NONBLOCK) < 0)
        h->id_prefix = kl_now_ns();

    enum kl_status status = copy_options(h, options, host, err);
    if (status == KL_OK)
        status = open_events(h, err);
    if (status == KL_OK)
        kl_accept_fit_descriptors(&h->options);
    if (status == KL_OK)
        status = kl_accept_open(h, host, options->port, err);
    h->options.sockets = NULL;
    if (status != KL_OK) {
        kl_http_close(h);
        *http = NULL;
    }
    return status;
}

void kl_http_close(struct kl_http *http)
{
    if (http == NULL)
        return;
    kl_connections_close(http);
    kl_accept_close(http);
    if (http->make_room != NULL)
        event_free(http->make_room);
    kl_access_release(&http->access);
    free(http);
}

size_t kl_http_connection_bytes(size_t max_connections)
{
    return (max_connections + KL_MAX_REFUSED) * KL_HTTP_CONNECTION_BYTES;
}

uint16_t kl_http_port(const struct kl_http *http)
{
    return http->port;
}

const char *kl_http_url(const struct kl_http *http)
{
    return http->url;
}

bool kl_http_is_local(const struct kl_http *http)
{
    return kl_accept_is_local(http);
}

enum kl_status kl_http_set_keys(struct kl_http *http, const char *const *api_keys,
                                size_t n_api_keys, struct kl_error *err)
{
    if (n_api_keys == 0 || http->access.n_keys == 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "a running server cannot change between having keys and having none");
    return kl_access_set_keys(&http->access, api_keys, n_api_keys, err);
}

void kl_http_drain(struct kl_http *http)
{
    if (http->draining)
        return;
    http->draining = true;
    kl_accept_drain(http);
    kl_connections_drain(http);
}

bool kl_http_is_draining(const struct kl_http *http)
{
    return http->draining;
}

bool kl_http_is_answering(const struct kl_http *http)
{
    return http->exchanges != NULL;
}

void kl_http_check_idle(struct kl_http *http)
{
    kl_connections_check_idle(http);
}

const struct kl_connection_counts *kl_http_counts(const struct kl_http *http)
{
    return &http->counts;
}

size_t kl_http_held(const struct kl_http *http)
{
    return http->holders.held;
}
