/*
 * Shared by the tests of the prefix cache on disk: a directory of their own, pages whose tokens
 * and content follow from a number, and stores of small pages. Include after <cmocka.h>.
 */
#ifndef KL_TESTS_DISK_PAGES_H
#define KL_TESTS_DISK_PAGES_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/page_file.h"
#include "engine/page_store.h"

#define PAGE_BYTES 1000 /* no multiple of anything: a file counts for 4096 */
#define FILE_SIZE  (sizeof(struct kl_page_header) + PAGE_BYTES)
#define CAP(n)     ((uint64_t)(n)*KL_PAGE_FILE_BLOCK)

static char top[64];             /* removed with its content */
static char dir[sizeof top + 8]; /* the store's */

static inline int disk_make(void **state)
{
    (void)state;
    strcpy(top, "/tmp/kinglet-pages-XXXXXX");
    if (mkdtemp(top) == NULL)
        return -1;
    snprintf(dir, sizeof dir, "%s/pages", top);
    return 0;
}

static inline int disk_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int disk_remove(void **state)
{
    (void)state;
    return nftw(top, disk_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

static inline struct kl_page_store *store_open(uint64_t max_bytes)
{
    struct kl_page_store_options options = {.dir = dir,
                                            .identity = "a model",
                                            .identity_size = 7,
                                            .page_bytes = PAGE_BYTES,
                                            .max_bytes = max_bytes};
    struct kl_page_store *store;
    struct kl_error err;
    if (kl_page_store_open(&options, &store, &err) != KL_OK)
        fail_msg("%s", err.text);
    return store;
}

static inline struct kl_page_store_stats store_stats(struct kl_page_store *store)
{
    struct kl_page_store_stats stats;
    kl_page_store_stats(store, &stats);
    return stats;
}

/* The n-th page after `parent`; its content follows from its key, as in a real one. */
struct disk_page {
    struct kl_page_key parent, key;
    int32_t tokens[KL_KV_PAGE_TOKENS];
    uint8_t content[PAGE_BYTES];
};

static inline struct disk_page page_after(const struct kl_page_key *parent, int32_t n)
{
    struct disk_page p = {.parent = *parent};
    for (int32_t i = 0; i < KL_KV_PAGE_TOKENS; i++)
        p.tokens[i] = n * 1000 + i;
    p.key = kl_page_key_next(parent, p.tokens);
    uint64_t x;
    memcpy(&x, p.key.bytes, sizeof x);
    for (size_t i = 0; i < PAGE_BYTES; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        p.content[i] = (uint8_t)(x >> 56);
    }
    return p;
}

/* A first page of scope 0. */
static inline struct disk_page first_page(const struct kl_page_store *store, int32_t n)
{
    struct kl_page_key root = kl_page_store_root(store, 0);
    return page_after(&root, n);
}

static inline bool page_put(struct kl_page_store *store, const struct disk_page *p)
{
    return kl_page_store_put(store, &p->parent, p->tokens, p->content, false);
}

static inline bool page_put_background(struct kl_page_store *store, const struct disk_page *p)
{
    return kl_page_store_put(store, &p->parent, p->tokens, p->content, true);
}

/* Returns whether a page is found, and checks its content. */
static inline bool page_get_as(struct kl_page_store *store, const struct disk_page *p,
                               bool background)
{
    uint8_t content[PAGE_BYTES];
    if (!kl_page_store_get(store, &p->parent, p->tokens, content, background))
        return false;
    assert_memory_equal(content, p->content, PAGE_BYTES);
    return true;
}

static inline bool page_get(struct kl_page_store *store, const struct disk_page *p)
{
    return page_get_as(store, p, false);
}

static inline void page_path(const struct disk_page *p, char path[PATH_MAX])
{
    char name[KL_PAGE_NAME_SIZE];
    kl_page_name(&p->key, &p->parent, name);
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

static inline bool page_is_on_disk(const struct disk_page *p)
{
    char path[PATH_MAX];
    struct stat st;
    page_path(p, path);
    return lstat(path, &st) == 0;
}

/* Returns how many files in the directory have names with this prefix. */
static inline size_t count_files(const char *prefix)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    size_t n = 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

#endif
