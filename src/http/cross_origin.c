#include "http/cross_origin.h"

#include <string.h>
#include <strings.h>

#include "http/http_state.h"

/* For which a browser need not ask again; Chromium keeps no answer for longer than two hours. */
#define MAX_AGE "7200"
/* A request may name this much; more than any client has. */
#define MAX_ASKED_HEADERS 2048

void kl_cross_origin_begin(struct kl_exchange *x)
{
    const struct kl_origins *origins = &x->http->access.origins;
    const char *origin = kl_request_header(x, "Origin");
    if (!kl_origins_any(origins))
        return;
    kl_reply_header(x, "Vary", "Origin"); /* also for those that are not allowed */
    enum kl_origin_match match =
        origin != NULL ? kl_origins_find(origins, origin) : KL_ORIGIN_OTHER;
    if (match == KL_ORIGIN_OTHER)
        return;
    kl_reply_header(x, "Access-Control-Allow-Origin", origin);
    /* for a proxy in front that knows its users by cookies; this server has none. A group is too
     * large to be trusted with the user's logins. */
    if (match == KL_ORIGIN_EXACT)
        kl_reply_header(x, "Access-Control-Allow-Credentials", "true");
    kl_reply_header(x, "Access-Control-Expose-Headers",
                    "X-Request-Id, X-Messages-Left-Out, Retry-After, ETag");
}

bool kl_cross_origin_preflight(struct kl_exchange *x)
{
    const char *origin = kl_request_header(x, "Origin");
    const char *asked = kl_request_header(x, "Access-Control-Request-Headers");
    const char *private_network = kl_request_header(x, "Access-Control-Request-Private-Network");
    if (x->head->method != KL_HTTP_OPTIONS || origin == NULL ||
        kl_request_header(x, "Access-Control-Request-Method") == NULL ||
        kl_origins_find(&x->http->access.origins, origin) == KL_ORIGIN_OTHER)
        return false;
    kl_reply_header(x, "Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS");
    /* a "*" would not cover Authorization, nor anything in a request with credentials */
    bool echoed = asked != NULL && asked[0] != '\0' && strlen(asked) <= MAX_ASKED_HEADERS &&
                  kl_http_is_list(asked);
    kl_reply_header(x, "Access-Control-Allow-Headers",
                    echoed ? asked : "Authorization, Content-Type, x-api-key, X-Answer-Id");
    kl_reply_header(x, "Access-Control-Max-Age", MAX_AGE);
    /* https://wicg.github.io/private-network-access: a public site, and a server at home */
    if (private_network != NULL && strcasecmp(private_network, "true") == 0)
        kl_reply_header(x, "Access-Control-Allow-Private-Network", "true");
    return true;
}

static void handle_options(struct kl_exchange *x)
{
    kl_reply_static(x, 204, NULL, NULL, 0);
}

const struct kl_route kl_options_route = {
    .path = "OPTIONS", .flags = KL_ROUTE_OPEN | KL_ROUTE_PUBLIC, .handle = handle_options};
