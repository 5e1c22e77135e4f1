/*
 * Which path is answered by whom: one table, one row for an endpoint.
 */
#ifndef KL_SERVER_ROUTES_H
#define KL_SERVER_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "http/exchange.h"

enum {
    KL_GET = 1, /* and HEAD */
    KL_POST = 2
};

enum {
    KL_ROUTE_OPEN = 1,    /* needs no API key */
    KL_ROUTE_PUBLIC = 2,  /* may be linked to from other sites: holds nothing, does nothing */
    KL_ROUTE_V1 = 4,      /* also without the leading /v1, for clients whose base URL lacks it */
    KL_ROUTE_SUBTREE = 8, /* and everything below it */
    KL_ROUTE_ANSWERS = 16 /* generates; its requests are worth a line in the log */
};

struct kl_route {
    const char *path;
    unsigned methods;
    unsigned flags;
    void (*handle)(struct kl_exchange *x);
};

/* Brings the path of a URL (up to its query) to one form: percent-decoded, no doubled or final
 * slash. false: it does not fit, or can not name anything. */
bool kl_route_path(const char *raw, char *out, size_t size);

/* The row for a normalised path, or NULL. */
const struct kl_route *kl_route_find(const char *path);

void kl_handle_native_chat(struct kl_exchange *x);
void kl_handle_chat_completions(struct kl_exchange *x);
void kl_handle_models(struct kl_exchange *x);
void kl_handle_health(struct kl_exchange *x);
void kl_handle_live(struct kl_exchange *x);
void kl_handle_metrics(struct kl_exchange *x);
void kl_handle_ready(struct kl_exchange *x);
void kl_handle_page(struct kl_exchange *x);

#endif
