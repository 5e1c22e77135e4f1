/* GET / and the files of the web page, which are embedded in the program. */
#include <string.h>

#include "http/exchange.h"
#include "server/page.h"
#include "web/assets.h"

bool kl_page_has(const char *path)
{
    return kl_asset_find(path) != NULL;
}

KL_HANDLER(kl_handle_page)
{
    const struct kl_asset *asset = kl_asset_find(x->path);
    kl_reply_header(x, "ETag", asset->etag);
    /* revalidated each time, at the cost of a 304: a new version of the program is used at once */
    kl_reply_header(x, "Cache-Control", "no-cache");
    kl_reply_header(x, "Content-Security-Policy", kl_page_csp);
    kl_reply_header(x, "Referrer-Policy", "same-origin");
    kl_reply_header(x, "X-Frame-Options", "DENY");
    kl_reply_header(x, "Cross-Origin-Resource-Policy", "same-origin");

    const char *known = kl_request_header(x, "If-None-Match");
    if (known != NULL && (strstr(known, asset->etag) != NULL || strcmp(known, "*") == 0))
        kl_reply_static(x, 304, NULL, NULL, 0);
    else
        kl_reply_static(x, 200, asset->content_type, asset->data, asset->len);
}
