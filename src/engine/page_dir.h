/*
 * The directory of the prefix cache on disk, for commands that show or clear it (`kinglet cache`)
 * without opening a page store.
 */
#ifndef KL_ENGINE_PAGE_DIR_H
#define KL_ENGINE_PAGE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_page_dir {
    size_t pages; /* including those of earlier versions */
    uint64_t bytes;
    int64_t used; /* last use of any page, nanoseconds since 1970; 0: no pages */
    bool in_use;  /* a process has a page store open in it */
};

/* Fills *found; all 0 if the directory does not exist. */
enum kl_status kl_page_dir_look(const char *path, struct kl_page_dir *found, struct kl_error *err);

/* Removes all pages, unless the directory is in use; *found: its state before. */
enum kl_status kl_page_dir_clear(const char *path, struct kl_page_dir *found, struct kl_error *err);

#endif
