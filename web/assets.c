#include "web/assets.h"

#include <string.h>

/* Text of a model is untrusted: even if markup got past the sanitizer, no inline script or
 * style may run, nothing may be loaded from or sent to another host, and no other page may frame
 * this one. */
const char kl_page_csp[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                           "img-src 'self' data:; connect-src 'self'; font-src 'self'; "
                           "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const struct kl_asset *kl_asset_find(const char *path)
{
    for (size_t i = 0; i < kl_n_assets; i++) {
        if (strcmp(kl_assets[i].path, path) == 0)
            return &kl_assets[i];
    }
    return NULL;
}
