/*
 * The prefix cache on disk: KV pages in a directory, one file each, found by the tokens they hold.
 *
 * A page holds the keys and values of KL_KV_PAGE_TOKENS tokens, which depend on all tokens before
 * them as well. So its key is a SHA-256 over its tokens and the key of the page before it; that of
 * a first page is over the root key of a scope (an API key's number, say), which covers what the
 * pages were made with. Who does not know all the text can not name a page, and scopes never meet.
 *
 * Writing is behind: put copies the page into a short queue, a thread of the store's writes it. A
 * page stands under a temporary name until it is whole, so that a process may be killed at any
 * moment. Nothing is synced: after a loss of power a page may be torn, which its checksum shows
 * when it is read. What is damaged, foreign or short is removed, counted, and a miss; it is never
 * an error. The cap is kept before a page is written, least recently used first, background before
 * interactive, and no page before those that continue it. A second process may use the same
 * directory; each learns of the other's pages now and then, and may be over the cap by
 * KL_PAGE_STORE_RESCAN pages until it does.
 *
 * When writing fails (no room, read-only, I/O error) the store says so in the log once and turns
 * writing off; it tries again after so many further pages, more each time.
 *
 * The files hold what people wrote, in a form that can be turned back into text, and they are not
 * encrypted: the directory is 0700, the files 0600, and a directory of another user is refused.
 *
 * _open and _close: one thread. All others: any thread; none of them waits for the disk but _get,
 * which reads in the caller's thread, and _flush.
 */
#ifndef KL_ENGINE_PAGE_STORE_H
#define KL_ENGINE_PAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h" /* KL_KV_PAGE_TOKENS */

#define KL_PAGE_KEY_SIZE     32
#define KL_PAGE_STORE_RESCAN 64 /* pages written between two looks at the whole directory */

struct kl_page_key {
    uint8_t bytes[KL_PAGE_KEY_SIZE];
};

/* The key of the page of these KL_KV_PAGE_TOKENS tokens that continues `parent`. About 1 us. */
struct kl_page_key kl_page_key_next(const struct kl_page_key *parent, const int32_t *tokens);

struct kl_page_store;

struct kl_page_store_options {
    const char *dir; /* made if it is missing; its parents, too */
    /* What the content of pages depends on beside their tokens: digest of the model's weights, KV
     * type, version of the layout of a page. Pages of another identity are not found; they count
     * against the cap and go when they are the oldest. */
    const void *identity;
    size_t identity_size;
    size_t page_bytes;
    uint64_t max_bytes; /* of all files together, each rounded up to 4 KiB; room for one at least */
};

/* Looks through the directory. Fails when the directory can not be made or read (KL_ERR_IO), is
 * not the user's own (KL_ERR_INVALID), or the cap has no room for a page (KL_ERR_INVALID). */
enum kl_status kl_page_store_open(const struct kl_page_store_options *options,
                                  struct kl_page_store **store, struct kl_error *err);
/* Writes what is queued, unless that takes longer than 2 seconds. NULL is allowed. */
void kl_page_store_close(struct kl_page_store *store);

/* The parent of the first pages of a scope. */
struct kl_page_key kl_page_store_root(const struct kl_page_store *store, uint64_t scope);

/* Queues a page to be written, unless it is there and known to be good. page: [page_bytes], copied.
 * background: among the first to be removed, until a get that is not background. false: it was
 * dropped, since the queue is full, writing is off, or the page before it is not there (alone it
 * would be of no use). So put pages in order, as soon as they are complete and not all at the end;
 * and later again from the first that was dropped. */
bool kl_page_store_put(struct kl_page_store *store, const struct kl_page_key *parent,
                       const int32_t *tokens, const void *page, bool background);

/* Reads a page into page: [page_bytes]; a page that is still queued, too. false: it is not there,
 * and what `page` holds is not defined. What the index does not have costs no system call. */
bool kl_page_store_get(struct kl_page_store *store, const struct kl_page_key *parent,
                       const int32_t *tokens, void *page, bool background);

/* Waits until the queue is empty (written, or dropped because writing is off). */
void kl_page_store_flush(struct kl_page_store *store);

size_t kl_page_store_memory(const struct kl_page_store *store); /* bytes: queue and index */

struct kl_page_store_stats {
    size_t pages;
    uint64_t bytes, max_bytes; /* on disk */
    size_t queued, max_queued; /* that wait to be written; what fits into 6 MiB, 4 to 256 pages */
    uint64_t hits, misses;     /* of get */
    uint64_t written, dropped; /* of put; dropped: see put, and when writing failed */
    uint64_t damaged;          /* files that were not what they should be, and were removed */
    uint64_t evicted;          /* removed for the cap */
    uint64_t write_errors;     /* times that writing failed */
    bool on;                   /* writing is on */
};
void kl_page_store_stats(struct kl_page_store *store, struct kl_page_store_stats *stats);

#endif
