#include "server/routes.h"

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

/* -1: it is no hexadecimal digit. */
static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool kl_route_path(const char *raw, char *out, size_t size)
{
    size_t len = 0;
    bool ok = raw[0] == '/';
    for (const char *at = raw; ok && strchr("?#", *at) == NULL; at++) {
        char c = *at;
        int high = c == '%' ? digit(at[1]) : -1, low = high >= 0 ? digit(at[2]) : -1;
        if (low >= 0) {
            c = (char)(high << 4 | low);
            at += 2;
        }
        if (c == '/' && len > 0 && out[len - 1] == '/')
            continue;
        ok = c != '\0' && len + 1 < size;
        if (ok)
            out[len++] = c;
    }
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
