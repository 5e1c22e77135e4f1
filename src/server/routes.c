#include "server/routes.h"

#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#include "web/assets.h"

static const struct kl_route routes[] = {
    {"/chat", KL_GET | KL_POST, KL_ROUTE_ANSWERS, kl_handle_native_chat},
    {"/v1/chat/completions", KL_POST, KL_ROUTE_V1 | KL_ROUTE_ANSWERS, kl_handle_chat_completions},
    {"/v1/models", KL_GET, KL_ROUTE_V1 | KL_ROUTE_SUBTREE, kl_handle_models},
    {"/health", KL_GET, KL_ROUTE_OPEN, kl_handle_health},
    {"/live", KL_GET, KL_ROUTE_OPEN, kl_handle_live},
    {"/metrics", KL_GET, 0, kl_handle_metrics},
    {"/ready", KL_GET, KL_ROUTE_OPEN, kl_handle_ready},
};

/* Every file of the page is a resource of its own; they share one row. */
static const struct kl_route page_route = {"/", KL_GET, KL_ROUTE_OPEN | KL_ROUTE_PUBLIC,
                                           kl_handle_page};

bool kl_route_path(const char *raw, char *out, size_t size)
{
    size_t len = 0, decoded_len;
    char *encoded = strndup(raw, strcspn(raw, "?#"));
    char *decoded = encoded != NULL ? evhttp_uridecode(encoded, 0, &decoded_len) : NULL;
    free(encoded);
    if (decoded == NULL)
        return false;
    bool ok = decoded[0] == '/' && strlen(decoded) == decoded_len && decoded_len < size;
    for (size_t i = 0; ok && i < decoded_len; i++) {
        if (decoded[i] != '/' || len == 0 || out[len - 1] != '/')
            out[len++] = decoded[i];
    }
    free(decoded);
    if (!ok)
        return false;
    if (len > 1 && out[len - 1] == '/')
        len--;
    out[len] = '\0';
    return true;
}

static bool matches(const char *path, const char *pattern, bool subtree)
{
    size_t len = strlen(pattern);
    return strncmp(path, pattern, len) == 0 && (path[len] == '\0' || (subtree && path[len] == '/'));
}

const struct kl_route *kl_route_find(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const struct kl_route *r = &routes[i];
        bool subtree = (r->flags & KL_ROUTE_SUBTREE) != 0;
        if (matches(path, r->path, subtree) ||
            ((r->flags & KL_ROUTE_V1) != 0 && matches(path, r->path + strlen("/v1"), subtree)))
            return r;
    }
    return kl_asset_find(path) != NULL ? &page_route : NULL;
}
