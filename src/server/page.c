/* GET / and the files of the web page, which are embedded in the program. Clients of Ollama ask for
 * / to see whether it runs: one that does not accept HTML gets the text that they look for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/exchange.h"
#include "server/page.h"
#include "web/assets.h"

#define BLANKS " \t"

bool kl_page_has(const char *path)
{
    return kl_asset_find(path) != NULL;
}

static bool wants_page(const struct kl_exchange *x)
{
    const char *accept = kl_request_header(x, "Accept");
    return strcmp(x->path, "/") != 0 || (accept != NULL && strstr(accept, "text/html") != NULL);
}

/* RFC 9110, 12.5.3: a list of codings, each with a weight or without; 0 is a refusal. */
bool kl_accepts_gzip(const char *accepted)
{
    while (accepted != NULL && *accepted != '\0') {
        const char *item = accepted + strspn(accepted, BLANKS ",");
        size_t len = strcspn(item, ",");
        size_t name = strcspn(item, ",;" BLANKS);
        if (name == 4 && strncasecmp(item, "gzip", 4) == 0) {
            const char *weight = item + name + strspn(item + name, BLANKS ";");
            return weight >= item + len || strncasecmp(weight, "q=", 2) != 0 ||
                   strtod(weight + 2, NULL) > 0;
        }
        accepted = item + len;
    }
    return false;
}

KL_HANDLER(kl_handle_page)
{
    if (!wants_page(x)) {
        kl_reply_text(x, 200, "text/plain; charset=utf-8", "Ollama is running");
        return;
    }
    const struct kl_asset *asset = kl_asset_find(x->path);
    bool is_packed =
        asset->gzip != NULL && kl_accepts_gzip(kl_request_header(x, "Accept-Encoding"));
    char etag[40];
    snprintf(etag, sizeof etag, "\"%s%s\"", asset->digest, is_packed ? "-gzip" : "");
    kl_reply_header(x, "ETag", etag);
    if (asset->gzip != NULL)
        kl_reply_header(x, "Vary", "Accept-Encoding");
    /* "no-cache" is revalidated each time, at the cost of a 304: a new version of the program is
     * used at once, and the document names files that only this version has */
    kl_reply_header(x, "Cache-Control",
                    asset->is_immutable ? "public, max-age=31536000, immutable" : "no-cache");
    kl_reply_header(x, "Content-Security-Policy", kl_page_policy);
    kl_reply_header(x, "Referrer-Policy", "same-origin");
    kl_reply_header(x, "X-Frame-Options", "DENY");
    kl_reply_header(x, "Cross-Origin-Resource-Policy", "same-origin");

    const char *known = kl_request_header(x, "If-None-Match");
    if (known != NULL && (strstr(known, etag) != NULL || strcmp(known, "*") == 0)) {
        kl_reply_static(x, 304, NULL, NULL, 0);
        return;
    }
    if (is_packed)
        kl_reply_header(x, "Content-Encoding", "gzip");
    kl_reply_static(x, 200, asset->content_type, is_packed ? asset->gzip : asset->data,
                    is_packed ? asset->gzip_len : asset->len);
}
