/*
 * The prefix cache on disk: KV pages in a directory, one file each, found by their tokens.
 *
 * A page holds the keys and values of KL_KV_PAGE_TOKENS tokens, which depend on all tokens before
 * them as well. So the key of a page is a SHA-256 over its tokens and the key of the page before
 * it; for a first page, over the root key of a scope (the number of an API key, for instance),
 * which covers everything that the content of pages depends on. Without the whole text a page
 * cannot be named, and scopes never meet.
 *
 * Pages are written behind: put copies a page into a short queue, and a thread of the store writes
 * it, under a temporary name until it is complete, so a process may be killed at any moment.
 * Nothing is synced: after a power loss a page may be torn; its checksum shows that when it is
 * read. A damaged, foreign or short file is removed, counted, and a miss, never an error. The cap
 * is enforced before a page is written: the least recently used pages are removed first, background
 * before interactive, and no page before those that continue it. A second process may use the same
 * directory: each reads the directory again after KL_PAGE_STORE_RESCAN written pages, and may
 * exceed the cap by that many. Stores of one process, for several models, know how much the others
 * have written: together they exceed the cap by a part of 1/KL_PAGE_STORE_SLACK for each.
 *
 * If writing fails (disk full, read-only, I/O error), the store logs it once and turns writing off;
 * it tries again after a number of further pages, which grows.
 *
 * The files contain conversations in a form that can be turned back into text, not encrypted: the
 * directory has mode 0700, files 0600, and a directory of another user is refused.
 *
 * _open and _close: one thread. All others: any thread; only _get, which reads in the caller's
 * thread, and _flush wait for the disk.
 */
#ifndef KL_ENGINE_PAGE_STORE_H
#define KL_ENGINE_PAGE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h" /* KL_KV_PAGE_TOKENS */

#define KL_PAGE_KEY_SIZE     32
#define KL_PAGE_STORE_RESCAN 64 /* pages written between two scans of the directory */
#define KL_PAGE_STORE_SLACK  32

struct kl_page_key {
    uint8_t bytes[KL_PAGE_KEY_SIZE];
};

/* Returns the key of the page that continues `parent` with tokens: [KL_KV_PAGE_TOKENS]. About 1 us.
 */
struct kl_page_key kl_page_key_next(const struct kl_page_key *parent, const int32_t *tokens);

struct kl_page_store;

/* Memory for pages that wait to be written. 6 MiB are 15 pages of 24 layers in f16: nearly 500
 * tokens, which take longer to compute than to write. */
#define KL_PAGE_QUEUE_BYTES ((size_t)6 << 20)

struct kl_page_store_options {
    const char *dir; /* created if it is missing, with its parents */
    /* Everything that the content of pages depends on in addition to tokens: digest of the model's
     * weights, KV type, version of the page layout. Pages of another identity are not found; they
     * count against the cap and are removed when they are the oldest. */
    const void *identity;
    size_t identity_size;
    size_t page_bytes;
    uint64_t max_bytes; /* of all files, each rounded up to 4 KiB; at least one page */
    size_t queue_bytes; /* memory for pages to be written; 0: KL_PAGE_QUEUE_BYTES */
    /* Bytes that all stores of this process have written into the directory, which begins as 0 and
     * outlives them; NULL: no other store of this process uses it. */
    _Atomic(uint64_t) *written;
};

/* Opens the store and reads the directory. KL_ERR_IO: the directory cannot be created or read;
 * KL_ERR_INVALID: it belongs to another user, or the cap has no room for a page. */
enum kl_status kl_page_store_open(const struct kl_page_store_options *options,
                                  struct kl_page_store **store, struct kl_error *err);
/* Writes queued pages for at most 2 seconds, then closes. NULL is allowed. */
void kl_page_store_close(struct kl_page_store *store);

/* Returns the key that the first pages of a scope have as their parent. */
struct kl_page_key kl_page_store_root(const struct kl_page_store *store, uint64_t scope);

/* Queues a page to be written, unless it is stored already and known to be good. page:
 * [page_bytes], copied. background: among the first to be removed, until a get that is not
 * background. false: it was dropped, because the queue is full, writing is off, or the page before
 * it is not stored (alone it would be useless). So put pages in order, each as soon as it is
 * complete; after a drop, put again from the dropped page on. */
bool kl_page_store_put(struct kl_page_store *store, const struct kl_page_key *parent,
                       const int32_t *tokens, const void *page, bool background);

/* Reads a page, stored or still queued, into page: [page_bytes]. false: not found, and the content
 * of page is undefined. A page that is not in the index costs no system call. */
bool kl_page_store_get(struct kl_page_store *store, const struct kl_page_key *parent,
                       const int32_t *tokens, void *page, bool background);

/* Waits until the queue is empty (written, or dropped because writing is off). */
void kl_page_store_flush(struct kl_page_store *store);

size_t kl_page_store_memory(const struct kl_page_store *store); /* bytes: queue and index */
/* The same of a store that would be opened with these options; dir is not used. 0: none would be.
 */
size_t kl_page_store_memory_of(const struct kl_page_store_options *options);

struct kl_page_store_stats {
    size_t pages;
    uint64_t bytes, max_bytes; /* on disk */
    size_t queued, max_queued; /* waiting to be written; max: as many as fit into 6 MiB, 4 to 256 */
    uint64_t hits, misses;     /* of get */
    uint64_t written, dropped; /* of put; dropped: also when writing failed */
    uint64_t damaged;          /* invalid files that were removed */
    uint64_t evicted;          /* removed for the cap */
    uint64_t write_errors;     /* times that writing failed */
    bool on;                   /* writing is on */
};
void kl_page_store_stats(struct kl_page_store *store, struct kl_page_store_stats *stats);

#endif
