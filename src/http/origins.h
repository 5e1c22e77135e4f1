/*
 * Origins: the web pages of other sites, and the apps, whose requests the operator allows
 * (--allow-origin), in addition to the server's own page.
 *
 * Pure functions. Nothing here reads or writes headers: see judge.c.
 */
#ifndef KL_HTTP_ORIGINS_H
#define KL_HTTP_ORIGINS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct kl_origins {
    char **exact; /* [n] lower case, without the port that is usual for the scheme */
    size_t n;
    bool apps; /* the group: see kl_origins_init */
};

enum kl_origin_match {
    KL_ORIGIN_OTHER,
    KL_ORIGIN_OF_GROUP, /* of the group "apps" */
    KL_ORIGIN_EXACT     /* named by the operator */
};

/* names: origins as browsers send them ("https://chat.example", "http://box.lan:3000"), or the
 * group "apps": app://, tauri://, file://, vscode-*://, *-extension:// with any name, and pages of
 * this computer (http and https; localhost, 127.0.0.1, [::1], tauri.localhost; any port).
 * KL_ERR_INVALID: "*", "null", or no origin. To be released even if it fails. */
enum kl_status kl_origins_init(struct kl_origins *origins, const char *const *names, size_t n,
                               struct kl_error *err);
void kl_origins_release(struct kl_origins *origins);

/* Whether there are any: then answers depend on the Origin header. */
static inline bool kl_origins_any(const struct kl_origins *origins)
{
    return origins->n > 0 || origins->apps;
}

enum kl_origin_match kl_origins_find(const struct kl_origins *origins, const char *origin);

#endif
