/*
 * One KV page as a file: its name, its content, reading and writing it.
 *
 * The name is the key of the page and that of the page before it, in hexadecimal:
 * "KEY-PARENT.page"; the modification time is the time of its last use. The content is a
 * kl_page_header and the page. Used by the page store only; no state but the directory, so any
 * thread.
 */
#ifndef KL_ENGINE_PAGE_FILE_H
#define KL_ENGINE_PAGE_FILE_H

#include <sys/stat.h>

#include "engine/page_store.h"

#define KL_PAGE_FILE_BLOCK 4096       /* bytes; the smallest unit of file systems */
#define KL_PAGE_TEMPORARY  "writing." /* prefix of files being written */
#define KL_PAGE_SUFFIX     ".page"    /* changes when earlier pages become useless */
#define KL_PAGE_NAME_SIZE  (4 * KL_PAGE_KEY_SIZE + sizeof "-" KL_PAGE_SUFFIX)

struct kl_page_header {
    char magic[8];
    uint32_t version;
    uint32_t n_tokens; /* KL_KV_PAGE_TOKENS */
    uint64_t page_bytes;
    struct kl_page_key parent;
    int32_t tokens[KL_KV_PAGE_TOKENS];
    uint64_t checksum; /* of all fields before it, and of the page */
};

struct kl_page_header kl_page_header(const struct kl_page_key *parent, const int32_t *tokens,
                                     size_t page_bytes);

void kl_page_name(const struct kl_page_key *key, const struct kl_page_key *parent,
                  char name[KL_PAGE_NAME_SIZE]);
/* Returns whether a name is that of a page, and its keys. */
bool kl_page_name_parse(const char *name, struct kl_page_key *key, struct kl_page_key *parent);

/* Returns whether a name is that of a page of an earlier version, which cannot be used any more. */
bool kl_page_name_is_old(const char *name);

/* Returns when a file was last used: its modification time, nanoseconds since 1970, at least 0. */
int64_t kl_page_time(const struct stat *st);

/* Writes header and page under the name `temporary`, then renames the file to `name`. header: the
 * beginning of a block of [sizeof *header + header->page_bytes] bytes; its checksum is set. */
enum kl_status kl_page_write(int dir, const char *temporary, const char *name,
                             struct kl_page_header *header, int64_t used, struct kl_error *err);

/* Removes the file of a page; no error if it does not exist. */
enum kl_status kl_page_remove(int dir, const struct kl_page_key *key,
                              const struct kl_page_key *parent, struct kl_error *err);

enum kl_page_found {
    KL_PAGE_READ,
    KL_PAGE_GONE,      /* no such file */
    KL_PAGE_DAMAGED,   /* the file is not a page, another page, or incomplete */
    KL_PAGE_UNREADABLE /* no descriptors or no memory: the file may be good */
};
/* Reads a page whose header must be `wanted` (except for its checksum) into page:
 * [wanted->page_bytes], and sets the time of its last use. */
enum kl_page_found kl_page_read(int dir, const char *name, const struct kl_page_header *wanted,
                                void *page, int64_t used);

#endif
