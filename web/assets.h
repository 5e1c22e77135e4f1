/* The files of the page, embedded in the program when it is built (see embed.py). */
#ifndef KL_WEB_ASSETS_H
#define KL_WEB_ASSETS_H

#include <stddef.h>

struct kl_asset {
    const char *path;         /* as in the request: "/style.css" */
    const char *content_type; /* with the charset where it is text */
    const char *etag;         /* quoted, from the content */
    const unsigned char *data;
    size_t len;
};

/* The asset at an absolute path without query; "/" is the page itself. NULL if there is none. */
const struct kl_asset *kl_asset_find(const char *path);

/* The value of the Content-Security-Policy header that every asset is to be sent with. */
extern const char kl_page_csp[];

/* The table that embed.py writes. */
extern const struct kl_asset kl_assets[];
extern const size_t kl_n_assets;

#endif
