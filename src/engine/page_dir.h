/*
 * The directory of the prefix cache on disk, for commands that only look at it or empty it
 * (`kinglet cache`).
 */
#ifndef KL_ENGINE_PAGE_DIR_H
#define KL_ENGINE_PAGE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_page_dir {
    size_t pages; /* of earlier versions, too */
    uint64_t bytes;
    int64_t used; /* the last use of one, nanoseconds since 1970; 0: there is none */
    bool in_use;  /* a store has it open, in some process */
};

/* All zeros where there is no such directory. */
enum kl_status kl_page_dir_look(const char *path, struct kl_page_dir *found, struct kl_error *err);

/* Removes all pages, unless the directory is in use; *found: what was there. */
enum kl_status kl_page_dir_clear(const char *path, struct kl_page_dir *found, struct kl_error *err);

#endif
