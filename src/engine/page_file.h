/*
 * One KV page as a file: the directory that holds them, their names, and what stands in them.
 *
 * A name is the page's key and that of the page before it, in hexadecimal: "KEY-PARENT.page"; its
 * modification time is when it was last used. The content is a header (what the page is, and a
 * checksum over header and page) and the page. Used by page_store.c only; no state but the
 * directory, so any thread.
 */
#ifndef KL_ENGINE_PAGE_FILE_H
#define KL_ENGINE_PAGE_FILE_H

#include <sys/stat.h>

#include "engine/page_store.h"

#define KL_PAGE_FILE_BLOCK 4096       /* bytes; what file systems give at least */
#define KL_PAGE_TEMPORARY  "writing." /* begins the name of a file that is being written */
#define KL_PAGE_SUFFIX     ".page"    /* another one when pages of before are of no use any more */
#define KL_PAGE_NAME_SIZE  (4 * KL_PAGE_KEY_SIZE + sizeof "-" KL_PAGE_SUFFIX)

struct kl_page_header {
    char magic[8];
    uint32_t version;
    uint32_t n_tokens; /* KL_KV_PAGE_TOKENS */
    uint64_t page_bytes;
    struct kl_page_key parent;
    int32_t tokens[KL_KV_PAGE_TOKENS];
    uint64_t checksum; /* of all that stands before it, and of the page */
};

struct kl_page_header kl_page_header(const struct kl_page_key *parent, const int32_t *tokens,
                                     size_t page_bytes);

void kl_page_name(const struct kl_page_key *key, const struct kl_page_key *parent,
                  char name[KL_PAGE_NAME_SIZE]);
/* Whether a name is one of ours, and of which page. */
bool kl_page_name_parse(const char *name, struct kl_page_key *key, struct kl_page_key *parent);

/* Whether a name is that of a page of an earlier version, whose identities are not those of now. */
bool kl_page_name_is_old(const char *name);

/* When a file was last used: its modification time, nanoseconds since 1970, 0 or more. */
int64_t kl_page_time(const struct stat *st);

/* Writes header and page under the name `temporary`, then gives it its name. header: at the begin
 * of a block of [sizeof header + header->page_bytes] bytes; gets its checksum. */
enum kl_status kl_page_write(int dir, const char *temporary, const char *name,
                             struct kl_page_header *header, int64_t used, struct kl_error *err);

/* Removes a page's file; one that is gone is as good. */
enum kl_status kl_page_remove(int dir, const struct kl_page_key *key,
                              const struct kl_page_key *parent, struct kl_error *err);

enum kl_page_found {
    KL_PAGE_READ,
    KL_PAGE_GONE,      /* there is no file of this name */
    KL_PAGE_DAMAGED,   /* there is something else: not a page, not this page, not whole */
    KL_PAGE_UNREADABLE /* no descriptors, no memory: nothing is said about the file */
};
/* Reads the page that `wanted` (without its checksum) says into page: [wanted->page_bytes], and
 * notes when it was used. */
enum kl_page_found kl_page_read(int dir, const char *name, const struct kl_page_header *wanted,
                                void *page, int64_t used);

#endif
