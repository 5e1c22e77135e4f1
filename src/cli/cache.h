/*
 * What lies in the cache directory: for `kinglet cache`, and for doctor.
 */
#ifndef KL_CLI_CACHE_H
#define KL_CLI_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "console/findings.h"

enum kl_cache_kind {
    KL_CACHE_MODEL,
    KL_CACHE_WEIGHTS,
    KL_CACHE_TABLES, /* of a tokenizer */
    KL_CACHE_PROMPTS,
    KL_CACHE_LEFT, /* of an older version, or by a process that was killed */
    KL_CACHE_KINDS
};
const char *kl_cache_kind_name(enum kl_cache_kind kind); /* "model", "weights", ... */

#define KL_CACHE_MAX_ITEMS 512

struct kl_cache_item {
    enum kl_cache_kind kind;
    char name[NAME_MAX + 1];
    char models[200]; /* of weights and tables: the files they were made from; empty: not known */
    uint64_t bytes;   /* on the disk */
    int64_t used;     /* last use, nanoseconds since 1970 */
    bool in_use;      /* by some process */
};

struct kl_cache_contents {
    char path[PATH_MAX];
    struct kl_cache_item items[KL_CACHE_MAX_ITEMS]; /* by kind, the last used first */
    size_t n;
};

/* Of more than KL_CACHE_MAX_ITEMS files the others are left out. */
enum kl_status kl_cache_look(struct kl_cache_contents *contents, struct kl_error *err);

/* For doctor: how much there is of each kind, and what of it no process uses. */
void kl_doctor_cache(struct kl_findings *findings);

#endif
