/*
 * What the prefix cache on disk knows of its files: a hash table of fixed size, by page key.
 *
 * Storage is the owner's (page_store.c), who also sees to it that one thread at a time is in it.
 * Memory is taken once, by _init.
 */
#ifndef KL_ENGINE_PAGE_INDEX_H
#define KL_ENGINE_PAGE_INDEX_H

#include "engine/page_store.h"

struct kl_page_entry {
    struct kl_page_key key, parent;
    int64_t used;  /* larger: more recently */
    uint64_t size; /* bytes it counts for */
    bool checked;  /* this process wrote it, or read it and found it good */
    bool has_next; /* set and used by kl_page_index_oldest */
};

struct kl_page_index {
    struct kl_page_entry *entries; /* [max], of which n are there, in no order */
    uint32_t *slots;               /* [n_slots] 1 + number of an entry, 0: empty */
    size_t n, max, n_slots;        /* n_slots: a power of two, at least 2 * max */
    uint64_t bytes;                /* sum of size */
    size_t n_old;                  /* pages of an earlier version that _read removed */
};

enum kl_status kl_page_index_init(struct kl_page_index *index, size_t max, struct kl_error *err);
void kl_page_index_release(struct kl_page_index *index);
void kl_page_index_clear(struct kl_page_index *index);
size_t kl_page_index_memory(const struct kl_page_index *index); /* bytes */

/* NULL: not there. Valid until something is inserted or removed. */
struct kl_page_entry *kl_page_index_find(const struct kl_page_index *index,
                                         const struct kl_page_key *key);
/* Of a key that is not there yet; there must be room (n < max). */
void kl_page_index_insert(struct kl_page_index *index, const struct kl_page_entry *entry);
/* Whether it was there. */
bool kl_page_index_remove(struct kl_page_index *index, const struct kl_page_key *key);

/* The least recently used of those that no page continues: without the page before it a page is of
 * no use. But not `except` (may be NULL). NULL: there is none. */
const struct kl_page_entry *kl_page_index_oldest(struct kl_page_index *index,
                                                 const struct kl_page_key *except);

/* Fills it from the directory `dir`; of more pages than there is room for, the most recently used
 * stay and the others are removed. Files with names that are not ours are left alone; those that
 * were being written are removed when `alone` says that no other process can be writing them, and
 * so are those of an earlier version. */
enum kl_status kl_page_index_read(struct kl_page_index *index, int dir, bool alone,
                                  struct kl_error *err);

#endif
