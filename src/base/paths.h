/*
 * The path of the cache directory: $XDG_CACHE_HOME/kinglet, or ~/.cache/kinglet (XDG Base
 * Directory). Below it:
 *   models/    downloaded model files            packed/    packed weights, tokenizer tables
 *   threads/   the fastest numbers of threads    prefixes/  pages of the prefix cache
 *   history    lines typed in kinglet chat
 *
 * Any thread that does not race with setenv. Files there are opened through base/cache_dir.h.
 */
#ifndef KL_BASE_PATHS_H
#define KL_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Writes "<cache>/<name>" to out; name may be NULL for the directory itself. Creates nothing. */
enum kl_status kl_cache_path(const char *name, char *out, size_t size, struct kl_error *err);

/* Whether a relative path from outside can be used as it is, as a path and in an address: 1 to
 * max_len bytes, at most max_segments segments of letters, digits, '.', '_', '+' and '-', none of
 * which begins with '.' or '-'. */
bool kl_path_is_plain(const char *path, size_t max_len, size_t max_segments);

/* Creates a directory and its missing parents with mode 0700. Existing ones are not changed. */
enum kl_status kl_make_directories(const char *path, struct kl_error *err);

#endif
