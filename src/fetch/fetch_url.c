#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/split_name.h"
#include "fetch/fetch.h"

bool kl_url_is_safe(const char *url)
{
    static const char *const here[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    if (strncasecmp(url, "https://", 8) == 0)
        return true;
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        size_t len = strlen(here[i]);
        if (strncasecmp(url, here[i], len) == 0 && strchr(":/", url[len]) != NULL)
            return true;
    }
    return false;
}

static enum kl_status check(const char *name, const char *url, const char *sha256,
                            struct kl_error *err)
{
    if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
        return kl_fail(err, KL_ERR_INVALID, "expected an http or https address, found \"%.200s\"",
                       url);
    if (strlen(url) >= sizeof(((struct kl_fetch_source *)NULL)->url))
        return kl_fail(err, KL_ERR_INVALID, "the address is longer than %zu bytes",
                       sizeof(((struct kl_fetch_source *)NULL)->url));
    if (sha256 == NULL && !kl_url_is_safe(url))
        return kl_fail(err, KL_ERR_INVALID,
                       "%.200s: without https anyone on the way can change the file; use https, or "
                       "give --sha256",
                       url);
    if (sha256 != NULL && (strlen(sha256) != 64 || strspn(sha256, "0123456789abcdefABCDEF") != 64))
        return kl_fail(err, KL_ERR_INVALID, "--sha256 takes 64 hexadecimal digits, not \"%.80s\"",
                       sha256);
    if (kl_catalogue_find(name) != NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "%s is a model of the catalogue; a file from an address needs another name",
                       name);
    return KL_OK;
}

/* Where the path of an address ends, before '?' or '#', and where its last segment begins. */
static const char *last_segment(const char *url, size_t *len)
{
    size_t end = strcspn(url, "?#"), begin = end;
    while (begin > 0 && url[begin - 1] != '/')
        begin--;
    *len = end - begin;
    return url + begin;
}

/* Downloads one file. */
static enum kl_status fetch_one(const char *name, const char *url, const char *sha256,
                                size_t stall_seconds, char path[PATH_MAX], struct kl_error *err)
{
    struct kl_fetch_source source = {.label = name};
    const struct kl_fetch_file file = {
        .name = name, .path = path, .sha256 = sha256, .stall_seconds = stall_seconds};
    snprintf(source.url, sizeof source.url, "%s", url);
    enum kl_status status = kl_model_path_of_name(name, path, err);
    return status == KL_OK ? kl_fetch_file(&file, &source, 1, err) : status;
}

/* Downloads all parts of a model; file: the last segment of the address, with ".gguf". */
static enum kl_status fetch_parts(const char *url, const char *segment, size_t len,
                                  const char *file, const struct kl_split_name *split,
                                  size_t stall_seconds, char path[PATH_MAX], struct kl_error *err)
{
    char part[256], address[PATH_MAX], ignored[PATH_MAX];
    enum kl_status status = KL_OK;
    for (unsigned i = 1; i <= split->count && status == KL_OK; i++) {
        (void)kl_split_name_write(file, split->prefix_len, i, split->count, part, sizeof part);
        int n = snprintf(address, sizeof address, "%.*s%s%s", (int)(segment - url), url, part,
                         segment + len);
        part[strlen(part) - strlen(".gguf")] = '\0';
        status = n > 0 && (size_t)n < sizeof address
                     ? fetch_one(part, address, NULL, stall_seconds, i == 1 ? path : ignored, err)
                     : kl_fail(err, KL_ERR_INVALID, "the address is too long");
    }
    return status;
}

enum kl_status kl_fetch_url(const char *name, const char *url, const char *sha256,
                            size_t stall_seconds, char path[PATH_MAX], struct kl_error *err)
{
    char file[160];
    struct kl_split_name split;
    size_t len;
    const char *segment = last_segment(url, &len);
    enum kl_status status = check(name != NULL ? name : "", url, sha256, err);
    if (status != KL_OK || name != NULL)
        return status == KL_OK ? fetch_one(name, url, sha256, stall_seconds, path, err) : status;
    if (len <= 5 || len >= sizeof file || strncasecmp(segment + len - 5, ".gguf", 5) != 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "%.200s does not end in NAME.gguf; say how the model is to be called: "
                       "kinglet pull NAME --url URL",
                       url);
    snprintf(file, sizeof file, "%.*s.gguf", (int)(len - 5), segment);
    if (kl_split_name_read(file, &split)) {
        if (split.number != 1 || split.count > KL_MAX_PARTS)
            return kl_fail(err, KL_ERR_INVALID,
                           "%.160s is part %u of %u of a model; give the address of the first, and "
                           "all are downloaded (at most %d)",
                           file, split.number, split.count, KL_MAX_PARTS);
        if (sha256 != NULL)
            return kl_fail(err, KL_ERR_INVALID,
                           "--sha256 is of one file, and this model has %u: download them one by "
                           "one, with --url",
                           split.count);
        return fetch_parts(url, segment, len, file, &split, stall_seconds, path, err);
    }
    file[len - 5] = '\0';
    return fetch_one(file, url, sha256, stall_seconds, path, err);
}
