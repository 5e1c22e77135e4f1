/*
 * The files in the cache directory ($XDG_CACHE_HOME/kinglet): a list of them, and their removal.
 *
 * Reads directories and the index of digests, no contents. Other processes may add and remove files
 * meanwhile; a file that a process uses is never removed.
 */
#ifndef KL_LOAD_CACHE_CONTENTS_H
#define KL_LOAD_CACHE_CONTENTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum kl_cache_kind {
    KL_CACHE_MODEL,
    KL_CACHE_WEIGHTS, /* prepared from a model */
    KL_CACHE_TABLES,  /* of a tokenizer */
    KL_CACHE_PROMPTS, /* all pages of the prefix cache, as one item */
    KL_CACHE_LEFT,    /* left by an older version, or by a process that was killed */
    KL_CACHE_KINDS
};

/* "model", "weights", ...: as `kinglet cache --json` prints it. */
const char *kl_cache_kind_name(enum kl_cache_kind kind);

#define KL_CACHE_MAX_ITEMS 512

struct kl_cache_item {
    enum kl_cache_kind kind;
    char name[2 * NAME_MAX]; /* of a model of a repository: OWNER/REPO/FILE; of several files: the
                                first */
    char models[200];        /* the files that weights or tables were made from; empty: not known */
    uint64_t bytes;          /* on the disk */
    int64_t used;            /* last use, nanoseconds since 1970 */
    bool in_use;             /* by any process */
};

struct kl_cache_contents {
    char path[PATH_MAX];
    struct kl_cache_item items[KL_CACHE_MAX_ITEMS]; /* sorted by kind, the last used first */
    size_t n;
};

/* Fills *contents (300 KB, so not on the stack). A directory that does not exist is empty. Lists at
 * most KL_CACHE_MAX_ITEMS files. */
enum kl_status kl_cache_contents_read(struct kl_cache_contents *contents, struct kl_error *err);

struct kl_cache_freed {
    size_t files;
    uint64_t bytes;
    bool in_use; /* some files were kept because a process uses them */
};

/* Removes all that no process uses and that can be made again: everything but models. */
enum kl_status kl_cache_clean(struct kl_cache_freed *freed, struct kl_error *err);

/* Removes a model, with all its parts, and the weights packed from it; also what has come of one
 * that was not downloaded completely. name: as for every command, or as the list shows it. Adds to
 * *freed. KL_ERR_NOT_FOUND: the cache has no such model (but maybe another program's cache, which
 * the text says); KL_ERR_BUSY: a process uses it. */
enum kl_status kl_cache_remove_model(const char *name, struct kl_cache_freed *freed,
                                     struct kl_error *err);

#endif
