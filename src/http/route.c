#include "http/route.h"

#include <string.h>

/* The value of a hexadecimal digit; -1: it is none. */
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

static bool is_row_of(const struct kl_route *r, const char *path)
{
    if (r->has != NULL)
        return r->has(path);
    bool subtree = (r->flags & KL_ROUTE_SUBTREE) != 0;
    return matches(path, r->path, subtree) ||
           ((r->flags & KL_ROUTE_V1) != 0 && matches(path, r->path + strlen("/v1"), subtree));
}

const struct kl_route *kl_route_find(const struct kl_routes *routes, const char *path)
{
    for (size_t i = 0; i < routes->n; i++) {
        if (is_row_of(&routes->rows[i], path))
            return &routes->rows[i];
    }
    return NULL;
}
