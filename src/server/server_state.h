/* The state of the server, for the files of this room only. */
#ifndef KL_SERVER_SERVER_STATE_H
#define KL_SERVER_SERVER_STATE_H

#include <stddef.h>

#include "http/exchange.h"
#include "http/http.h"
#include "http/loop.h"
#include "server/server.h"
#include "server/systemd.h"
#include "service/service.h"

struct kl_server {
    struct kl_service service; /* kl_server_of finds the server from it */
    struct kl_loop *loop;
    struct kl_http *http;
    struct kl_systemd systemd;
    uint64_t memory_budget;
    void (*reload)(void *context);
    void *reload_context;
    int stop_fd;
    struct kl_watch *stop_watch; /* kl_server_stop was called */
};

/* Returns the server whose route answers this exchange. */
static inline struct kl_server *kl_server_of(const struct kl_exchange *x)
{
    return (struct kl_server *)(void *)((char *)x->application -
                                        offsetof(struct kl_server, service));
}

#endif
