#include "service/drain.h"

#include <event2/event.h>
#include <event2/listener.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/connection.h"
#include "server/server_state.h"
#include "server/systemd.h"
#include "service/generation.h"

/* After answers were cut: for their last bytes to leave. */
#define FLUSH_NS 500000000u

void kl_server_check_stopped(struct kl_server *server)
{
    if (server->stopping && server->exchanges == NULL &&
        !(server->hands_over && kl_connections_expect_request(server)))
        event_base_loopbreak(server->base);
}

void kl_drain_tick(struct kl_server *server)
{
    uint64_t passed = kl_now_ns() - server->stop_ns;
    if (passed >= server->patience_ns && !server->cut) {
        struct kl_api_error error;
        kl_api_fail(&error, 503, "stopping", NULL,
                    "the server is being stopped, and the time for running answers is over");
        server->cut = true;
        kl_generations_cut(server, &error);
    }
    if (passed >= server->patience_ns + FLUSH_NS)
        event_base_loopbreak(server->base);
}

void kl_drain_begin(struct kl_server *server)
{
    if (server->stopping)
        return;
    server->stopping = true;
    server->stop_ns = kl_now_ns();
    kl_systemd_stopping(server);
    /* what waits for the model would not finish */
    if (!kl_server_is_loading(server))
        server->patience_ns = (uint64_t)server->options.drain_seconds * 1000000000u;
    if (server->hands_over) {
        for (size_t i = 0; i < server->n_listeners; i++)
            evconnlistener_disable(server->listeners[i]);
    }
    kl_connections_drain(server);
    if (server->exchanges != NULL && server->patience_ns > 0)
        kl_info("stopping; running answers have %u s to finish", server->options.drain_seconds);
    kl_drain_tick(server);
    kl_server_start_tick(server);
    kl_server_check_stopped(server);
}
