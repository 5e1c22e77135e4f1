/*
 * What was computed is kept: KV pages by the tokens they hold and all tokens before them.
 *
 * A radix tree whose edges are pages: a node is a page of up to KL_KV_PAGE_TOKENS tokens, its
 * children continue it; only a leaf may be shorter than a page. Tokens are compared, not hashes of
 * them. A sequence that begins like a path shares its pages, and copies the one inside of which it
 * goes its own way. Trees of different scopes never meet, but for what is pinned: that is found
 * from every scope.
 *
 * The tree holds a share of each of its pages (model.h), whether a sequence uses them or not. It
 * never holds more than max_pages, and gives way to sequences that need room (_evict). Leaves go
 * first, those not used for the longest time; of background requests before interactive ones. What
 * a background request computed replaces nothing interactive, and what is pinned is replaced by
 * nothing.
 *
 * With a page store whole pages are written to disk, too, and found there again; what is pinned is
 * not, since it is computed again when nothing else is to be done.
 *
 * Owned by the engine thread. Nothing is allocated after _open but pages and page tables.
 */
#ifndef KL_ENGINE_PREFIX_CACHE_H
#define KL_ENGINE_PREFIX_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/page_store.h"
#include "model/model.h"

struct kl_prefix_cache;

/* For whom something is looked up or kept. */
enum kl_keep { KL_KEEP_BACKGROUND, KL_KEEP_INTERACTIVE, KL_KEEP_PINNED };

/* max_pages 0: it keeps nothing and finds nothing. Half of it at most is pinned. store may be NULL;
 * kv and store must outlive it. */
enum kl_status kl_prefix_cache_open(struct kl_kv_cache *kv, struct kl_page_store *store,
                                    size_t max_pages, struct kl_prefix_cache **cache,
                                    struct kl_error *err);
void kl_prefix_cache_close(struct kl_prefix_cache *cache); /* NULL is allowed */
size_t kl_prefix_cache_memory(size_t max_pages);           /* bytes of the tree, without pages */

/* Brings what is on disk of tokens[0, n) and not in memory into memory, up to max_pages pages in
 * this call, in the caller's thread. true: there may be more. */
bool kl_prefix_cache_load(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                          const int32_t *tokens, size_t n, size_t max_pages);

/* Fills the sequence, which is empty, with what memory has of tokens[0, n): the longest path, of
 * the scope or pinned. Returns how long the sequence is then; that may be less than is known where
 * there is no memory for it. */
size_t kl_prefix_cache_lookup(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                              const int32_t *tokens, size_t n, struct kl_sequence *sequence);

/* Keeps the first n tokens of the sequence, which computed them: as many whole pages as there is
 * room for, and the last part of a page. A part must not be written to any more. */
void kl_prefix_cache_insert(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                            const int32_t *tokens, size_t n, const struct kl_sequence *sequence);

/* Gives the pages up that are the least loss until the KV cache has room for n more, and even
 * pinned ones. false: nothing is left to be given up, and it has not. */
bool kl_prefix_cache_make_room(struct kl_prefix_cache *cache, size_t n_pages);

struct kl_prefix_cache_stats {
    size_t pages, pinned_pages, max_pages;
    uint64_t evictions; /* pages, for room of any kind */
    uint64_t loaded;    /* pages, from the store */
};
struct kl_prefix_cache_stats kl_prefix_cache_stats(const struct kl_prefix_cache *cache);

#endif
