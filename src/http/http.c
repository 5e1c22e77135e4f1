#include "http/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

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

/* Writes the name of this computer and NAME.local, by which mDNS makes it known. No other site can
 * have either of them: they are resolved by this computer and its network only. Returns how many
 * there are: names that no Host header can have are left out. */
static size_t names_of_computer(char names[2][KL_MAX_HOST])
{
    char name[KL_MAX_HOST], host[KL_MAX_HOST], port[6];
    if (gethostname(name, sizeof name) != 0 || memchr(name, '\0', sizeof name) == NULL ||
        !kl_split_authority(name, host, sizeof host, port) || port[0] != '\0')
        return 0;
    memcpy(names[0], host, sizeof host);
    size_t n = strcspn(host, ".");
    if (n + sizeof ".local" > KL_MAX_HOST)
        return 1;
    snprintf(names[1], KL_MAX_HOST, "%.*s.local", (int)n, host);
    return 2;
}

static enum kl_status copy_options(struct kl_http *http, const struct kl_http_options *options,
                                   const struct kl_listen_address *addresses, struct kl_error *err)
{
    http->options = *options;
    set_defaults(&http->options);
    if (options->no_auth && options->n_api_keys > 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "API keys and --no-auth exclude each other: give one of them");

    char names[2][KL_MAX_HOST];
    const char *own[1 + KL_HTTP_MAX_ALSO + 2];
    size_t n_own = 0, n_names = names_of_computer(names);
    for (size_t i = 0; i <= options->n_also_listen; i++)
        own[n_own++] = addresses[i].host;
    for (size_t i = 0; i < n_names; i++)
        own[n_own++] = names[i];
    const struct kl_access_options access = {.own_hosts = own,
                                             .n_own_hosts = n_own,
                                             .hosts = options->allowed_hosts,
                                             .n_hosts = options->n_allowed_hosts,
                                             .origins = options->allowed_origins,
                                             .n_origins = options->n_allowed_origins,
                                             .api_keys = options->api_keys,
                                             .n_api_keys = options->n_api_keys};
    enum kl_status status = kl_access_init(&http->access, &access, err);
    if (status != KL_OK)
        return status;
    /* access has copies */
    http->options.host = NULL;
    http->options.api_keys = NULL;
    http->options.allowed_hosts = NULL;
    http->options.allowed_origins = NULL;
    return KL_OK;
}

static enum kl_status open_events(struct kl_http *http, struct kl_error *err)
{
    http->make_room = event_new(http->base, -1, 0, on_make_room, http);
    if (http->make_room == NULL || event_priority_set(http->make_room, KL_LOOP_URGENT) != 0)
        return kl_fail_memory(err, "the event loop", 0);
    return kl_accept_prepare(http, err);
}

/* Reads the addresses of the options: [0] is that of host and port. */
static enum kl_status read_addresses(const struct kl_http_options *o,
                                     struct kl_listen_address addresses[1 + KL_HTTP_MAX_ALSO],
                                     struct kl_error *err)
{
    if (o->n_also_listen > KL_HTTP_MAX_ALSO)
        return kl_fail(err, KL_ERR_INVALID,
                       "--also-listen may be given %d times, not %zu; 0.0.0.0 or [::] stands for "
                       "all addresses of this computer",
                       KL_HTTP_MAX_ALSO, o->n_also_listen);
    enum kl_status status =
        kl_listen_set(&addresses[0], o->host != NULL ? o->host : "127.0.0.1", o->port, err);
    for (size_t i = 0; i < o->n_also_listen && status == KL_OK; i++)
        status = kl_listen_parse(o->also_listen[i], &addresses[1 + i], err);
    return status;
}

enum kl_status kl_http_open(const struct kl_http_options *options, struct kl_loop *loop,
                            const struct kl_routes *routes, void *application,
                            void (*idle)(void *application), struct kl_http **http,
                            struct kl_error *err)
{
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

    struct kl_listen_address addresses[1 + KL_HTTP_MAX_ALSO];
    enum kl_status status = read_addresses(options, addresses, err);
    if (status == KL_OK)
        status = copy_options(h, options, addresses, err);
    if (status == KL_OK)
        status = open_events(h, err);
    if (status == KL_OK)
        kl_accept_fit_descriptors(&h->options);
    if (status == KL_OK)
        status = kl_accept_open(h, addresses, 1 + options->n_also_listen, err);
    h->options.sockets = NULL;
    h->options.also_listen = NULL;
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

enum kl_status kl_http_set_keys(struct kl_http *http, const struct kl_api_key *api_keys,
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
