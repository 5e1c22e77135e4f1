/*
 * The index of the page store: an entry for each file, in a hash table of fixed size by page key.
 *
 * Owned by page_store.c, which lets one thread at a time use it. Memory is allocated once, by
 * _init. Knows names and sizes of files, not their content.
 */
#ifndef KL_ENGINE_PAGE_INDEX_H
#define KL_ENGINE_PAGE_INDEX_H

#include "engine/page_store.h"

struct kl_page_entry {
    struct kl_page_key key, parent;
    int64_t used;  /* larger: more recently */
    uint64_t size; /* bytes that count against the cap */
    bool checked;  /* written by this process, or read and found good */
    bool has_next; /* set and used by kl_page_index_oldest */
};

struct kl_page_index {
    struct kl_page_entry *entries; /* [max], of which n are used, in no order */
    uint32_t *slots;               /* [n_slots] 1 + number of an entry, 0: empty */
    size_t n, max, n_slots;        /* n_slots: a power of two, at least 2 * max */
    uint64_t bytes;                /* sum of size */
    size_t n_old;                  /* pages of an earlier version, removed by _read */
};

enum kl_status kl_page_index_init(struct kl_page_index *index, size_t max, struct kl_error *err);
void kl_page_index_release(struct kl_page_index *index);
void kl_page_index_clear(struct kl_page_index *index);
size_t kl_page_index_memory(const struct kl_page_index *index); /* bytes */

/* Returns the entry of a key, valid until the next insert or remove; NULL: none. */
struct kl_page_entry *kl_page_index_find(const struct kl_page_index *index,
                                         const struct kl_page_key *key);
/* Adds an entry. Its key must be new, and n < max. */
void kl_page_index_insert(struct kl_page_index *index, const struct kl_page_entry *entry);
/* Returns whether the key had an entry. */
bool kl_page_index_remove(struct kl_page_index *index, const struct kl_page_key *key);

/* Returns the least recently used page that no other page continues (a page is useless without the
 * pages before it), other than `except` (may be NULL); NULL: none. */
const struct kl_page_entry *kl_page_index_oldest(struct kl_page_index *index,
                                                 const struct kl_page_key *except);

/* Fills the index from the directory `dir`. If there are more than max pages, the most recently
 * used stay and the others are removed from the directory. With `alone` (no other process uses it),
 * unfinished files and pages of earlier versions are removed, too. Other files are left alone. */
enum kl_status kl_page_index_read(struct kl_page_index *index, int dir, bool alone,
                                  struct kl_error *err);

#endif
