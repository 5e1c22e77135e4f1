/* What a server is made of; for the files of this layer only. */
#ifndef KL_SERVER_SERVER_STATE_H
#define KL_SERVER_SERVER_STATE_H

#include <event2/event.h>

#include "http/access.h"
#include "http/connection.h"
#include "http/exchange.h"
#include "http/shares.h"
#include "server/server.h"
#include "server/systemd.h"
#include "service/metrics.h"
#include "service/startup.h"

#define KL_MAX_LISTENERS 8
#define KL_N_SIGNALS     3

struct kl_generation;
struct kl_worker;
struct evconnlistener;

struct kl_server {
    struct kl_server_options options; /* without its strings: see access */
    struct kl_startup startup;
    struct kl_worker *worker; /* for what takes longer than a turn of the loop may */
    struct kl_served served;  /* engine NULL: the model is being loaded */
    struct kl_access access;
    char url[300];
    uint16_t port;
    uint64_t start_ns;

    struct event_base *base;
    struct evconnlistener *listeners[KL_MAX_LISTENERS];
    size_t n_listeners;
    struct event *startup_event; /* the model is there, or can not be had */
    struct event *engine_event;  /* the engine has events for us; once there is one */
    struct event *worker_event;  /* the worker is done with something */
    struct event *stop_event;    /* kl_server_stop was called */
    struct event *signals[KL_N_SIGNALS];
    struct event *tick; /* while something is being answered */
    struct event *accept_again;
    struct event *make_room; /* connections hold too much; before anything else that waits */
    int stop_fd;

    struct kl_connection *connections, *oldest;
    struct kl_connection_counts connection_counts;
    struct kl_shares shares;
    struct kl_exchange *exchanges;
    struct kl_generation *generations;
    struct kl_metrics metrics;
    uint64_t n_exchanges; /* so far */
    uint64_t id_prefix;   /* random: ids of two runs differ */

    struct kl_systemd service;
    bool hands_over;    /* the sockets are a service manager's: others may accept from them */
    bool accept_failed; /* and that was said; until one is accepted again */
    bool stopping;
    bool cut; /* the time to finish is over, what ran was ended */
    uint64_t stop_ns, patience_ns;
};

static inline bool kl_server_is_loading(const struct kl_server *server)
{
    return server->served.engine == NULL;
}

/* While something is answered, so often it is looked whether a client heard nothing for long. */
#define KL_TICK_US 250000L
/* Something began that needs the tick, or ended that a stop waits for. */
void kl_server_start_tick(struct kl_server *server);
void kl_server_check_stopped(struct kl_server *server);

#endif
