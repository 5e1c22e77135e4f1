/* GET /live and /ready: for load balancers and service managers, which check only the status. */
#include <stdio.h>

#include "api/reply_json.h"
#include "service/service.h"

/* Shows that the loop runs; whether the engine makes progress is reported to the watchdog. */
KL_HANDLER(kl_handle_live)
{
    kl_reply_json(x, 200, json_pack("{s:s}", "status", "live"));
}

/* Reports whether a request sent now would be answered. */
KL_HANDLER(kl_handle_ready)
{
    const struct kl_service *service = kl_service_of(x);
    bool draining = kl_http_is_draining(service->http), loading = kl_service_is_loading(service);
    const char *status = draining ? "stopping" : loading ? "loading" : "ready";
    bool ready = !draining && !loading;
    if (!ready) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", KL_SERVICE_RETRY_SECONDS);
        kl_reply_header(x, "Retry-After", seconds);
    }
    kl_reply_json(x, ready ? 200 : 503, json_pack("{s:s}", "status", status));
}
