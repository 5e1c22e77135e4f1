/*
 * Routes: which paths exist, which methods and checks each has, and the function that answers.
 *
 * The table is data of the rooms above; this file only searches it. Pure functions.
 */
#ifndef KL_HTTP_ROUTE_H
#define KL_HTTP_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "http/api_error.h"

struct kl_exchange;

enum {
    KL_GET = 1, /* and HEAD, unless the row generates */
    KL_POST = 2,
    KL_DELETE = 4,
    KL_PUT = 8
};

enum {
    KL_ROUTE_OPEN = 1,     /* needs no API key */
    KL_ROUTE_PUBLIC = 2,   /* may be linked to from other sites: holds nothing, does nothing */
    KL_ROUTE_V1 = 4,       /* also without the leading /v1, for clients whose base URL lacks it */
    KL_ROUTE_SUBTREE = 8,  /* and everything below it */
    KL_ROUTE_ANSWERS = 16, /* generates; its requests are worth a line in the log */
    KL_ROUTE_OLLAMA = 32,  /* errors have the shape of Ollama's API, */
    KL_ROUTE_MESSAGES = 64 /* of Anthropic's; otherwise of OpenAI's */
};

struct kl_route {
    const char *path;
    unsigned methods;
    unsigned flags;
    void (*handle)(struct kl_exchange *x);
    bool (*has)(const char *path); /* a row of many paths: whether this is one; NULL: `path` is */
};

static inline enum kl_error_shape kl_route_errors(const struct kl_route *route)
{
    if ((route->flags & KL_ROUTE_OLLAMA) != 0)
        return KL_ERRORS_OLLAMA;
    return (route->flags & KL_ROUTE_MESSAGES) != 0 ? KL_ERRORS_MESSAGES : KL_ERRORS_OPENAI;
}

struct kl_routes {
    const struct kl_route *rows;
    size_t n;
};

/* Brings the path of a URL (up to its query) to one form: percent-decoded, no doubled or final
 * slash. Returns false if it does not fit into size bytes or is not a path. */
bool kl_route_path(const char *raw, char *out, size_t size);

/* Returns the first row for a path in that form, or NULL. */
const struct kl_route *kl_route_find(const struct kl_routes *routes, const char *path);

#endif
