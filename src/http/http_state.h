/*
 * The state of an HTTP server; for the files of this room only.
 */
#ifndef KL_HTTP_HTTP_STATE_H
#define KL_HTTP_HTTP_STATE_H

#include <event2/event.h>

#include "http/access.h"
#include "http/connection.h"
#include "http/exchange.h"
#include "http/holders.h"
#include "http/http.h"

struct evconnlistener;

struct kl_http {
    struct kl_http_options options; /* without its strings: see access */
    const struct kl_routes *routes;
    void *application;
    void (*idle)(void *application);
    struct event_base *base;

    struct kl_access access;
    char url[300];
    uint16_t port;
    struct evconnlistener *listeners[KL_HTTP_MAX_LISTENERS];
    size_t n_listeners;
    size_t n_handed_over;       /* the first ones, of another process, which accepts after us */
    bool accept_failed;         /* and was logged; until a connection is accepted again */
    struct event *accept_again; /* the end of the pause after a failed accept */
    struct event *make_room;    /* connections hold too much; before anything else that waits */

    const struct kl_connection_events *connection_events;
    struct kl_connection *connections, *oldest;
    struct kl_connection_counts counts;
    struct kl_holders holders;
    struct kl_exchange *exchanges;
    uint64_t n_exchanges; /* so far */
    uint64_t id_prefix;   /* random: ids of two runs differ */
    bool draining;
};

#endif
