/* GET /live and /ready: for load balancers and service managers. Nothing but the status counts. */
#include <stdio.h>

#include "server/routes.h"
#include "server/server_state.h"

/* The loop that answers this is what lives; whether the engine gets on, a watchdog is told. */
void kl_handle_live(struct kl_exchange *x)
{
    kl_reply_json(x, 200, json_pack("{s:s}", "status", "live"));
}

/* Whether work sent here now would be done here. */
void kl_handle_ready(struct kl_exchange *x)
{
    const char *status = x->server->stopping               ? "stopping"
                         : kl_server_is_loading(x->server) ? "loading"
                                                           : "ready";
    bool ready = !x->server->stopping && !kl_server_is_loading(x->server);
    if (!ready) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", KL_SERVER_RETRY_SECONDS);
        kl_reply_header(x, "Retry-After", seconds);
    }
    kl_reply_json(x, ready ? 200 : 503, json_pack("{s:s}", "status", status));
}
