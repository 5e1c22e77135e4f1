#include "server/routes.h"

#include "server/page.h"

/* One row per endpoint: path, methods, flags, and the function that answers, which is defined in
 * the endpoint's file (KL_HANDLER). All files of the page share the last row. */
#define ROUTES(ROW)                                                                                \
    ROW("/chat", KL_GET | KL_POST, KL_ROUTE_ANSWERS, kl_handle_native_chat, NULL)                  \
    ROW("/v1/chat/completions", KL_POST, KL_ROUTE_V1 | KL_ROUTE_ANSWERS,                           \
        kl_handle_chat_completions, NULL)                                                          \
    ROW("/v1/models", KL_GET, KL_ROUTE_V1 | KL_ROUTE_SUBTREE, kl_handle_models, NULL)              \
    ROW("/health", KL_GET, KL_ROUTE_OPEN, kl_handle_health, NULL)                                  \
    ROW("/live", KL_GET, KL_ROUTE_OPEN, kl_handle_live, NULL)                                      \
    ROW("/metrics", KL_GET, 0, kl_handle_metrics, NULL)                                            \
    ROW("/ready", KL_GET, KL_ROUTE_OPEN, kl_handle_ready, NULL)                                    \
    ROW("/", KL_GET, KL_ROUTE_OPEN | KL_ROUTE_PUBLIC, kl_handle_page, kl_page_has)

#define DECLARE(path, methods, flags, handle, has) void handle(struct kl_exchange *x);
ROUTES(DECLARE)

#define ROW(...) {__VA_ARGS__},
static const struct kl_route rows[] = {ROUTES(ROW)};

const struct kl_routes kl_server_routes = {rows, sizeof rows / sizeof rows[0]};
