/*
 * Where our own files live: $XDG_CACHE_HOME/kinglet, or ~/.cache/kinglet (XDG Base Directory).
 *   models/   downloaded model files      packed/   weights in our own layout
 *   threads/  how many threads were the fastest    prefixes/ pages of the prefix cache
 *   history   what was typed in kinglet chat
 */
#ifndef KL_BASE_PATHS_H
#define KL_BASE_PATHS_H

#include <stddef.h>

#include "base/error.h"

/* Writes "<cache>/<name>" to out; name may be NULL for the directory itself. Creates nothing. */
enum kl_status kl_cache_path(const char *name, char *out, size_t size, struct kl_error *err);

/* Creates a directory and its missing parents with mode 0700; existing ones are left alone. */
enum kl_status kl_make_directories(const char *path, struct kl_error *err);

#endif
