/* The files of the page, embedded in the program when it is built (see embed.py). */
#ifndef KL_WEB_ASSETS_H
#define KL_WEB_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

struct kl_asset {
    const char *path;         /* as in the request: "/favicon.svg" */
    const char *content_type; /* with the charset where it is text */
    const char *digest;       /* of the content, in hex */
    bool is_immutable;        /* the path holds a digest: other content has another path */
    const unsigned char *data;
    size_t len;
    const unsigned char *gzip; /* the same, compressed; NULL: not smaller */
    size_t gzip_len;
};

/* The asset at an absolute path without query; "/" is the page itself. NULL if there is none. */
const struct kl_asset *kl_asset_find(const char *path);

/* The value of the Content-Security-Policy header that every asset is to be sent with. */
extern const char kl_page_policy[];

/* The table that embed.py writes. */
extern const struct kl_asset kl_assets[];
extern const size_t kl_n_assets;

#endif
