#include "base/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum kl_status kl_cache_path(const char *name, char *out, size_t size, struct kl_error *err)
{
    const char *base = getenv("XDG_CACHE_HOME");
    const char *middle = "";
    /* by the specification a relative path is ignored */
    if (base == NULL || base[0] != '/') {
        base = getenv("HOME");
        middle = "/.cache";
    }
    if (base == NULL || base[0] == '\0')
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "no cache directory: neither XDG_CACHE_HOME nor HOME is set; set one");
    int n = snprintf(out, size, "%s%s/kinglet%s%s", base, middle, name != NULL ? "/" : "",
                     name != NULL ? name : "");
    if (n < 0 || (size_t)n >= size)
        return kl_fail(err, KL_ERR_LIMIT, "the cache path under %.200s is too long", base);
    return KL_OK;
}

enum kl_status kl_make_directories(const char *path, struct kl_error *err)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return kl_fail(err, KL_ERR_LIMIT, "the path %.200s... is too long", path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return kl_fail_errno(err, "cannot create the directory %s", part);
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return kl_fail_errno(err, "cannot create the directory %s", path);
    }
    return KL_OK;
}

bool kl_path_is_plain(const char *path, size_t max_len, size_t max_segments)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._+-";
    size_t n = 0;
    if (strlen(path) > max_len)
        return false;
    for (const char *at = path;; at++) {
        size_t segment = strspn(at, allowed);
        if (segment == 0 || at[0] == '.' || at[0] == '-' || ++n > max_segments)
            return false;
        at += segment;
        if (*at == '\0')
            return true;
        if (*at != '/')
            return false;
    }
}
