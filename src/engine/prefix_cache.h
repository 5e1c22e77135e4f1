/*
 * The prefix cache: computed KV pages, found by their tokens and all tokens before them.
 *
 * A radix tree whose edges are pages: a node is a page of up to KL_KV_PAGE_TOKENS tokens, its
 * children continue it; only a leaf may be shorter than a page. Tokens are compared, not hashes of
 * them. A sequence that begins like a path shares its pages, and copies the page inside of which it
 * diverges. Trees of different scopes never meet; pinned pages are found from every scope.
 *
 * The tree holds a share of each of its pages (model.h), whether sequences use them or not. It
 * holds at most max_pages, and evicts pages for sequences that need room: leaves first, least
 * recently used first, pages of background requests before those of interactive ones. Background
 * requests evict only background pages, and pinned pages are evicted only for running sequences.
 *
 * With a page store, whole pages are also written to disk and found there again, except pinned
 * ones, which are computed again when nothing else runs.
 *
 * Owned by the engine thread. Allocates nothing after _open but pages and page tables.
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

/* How long pages are kept, by the request that uses or adds them. A background page that an
 * interactive request uses becomes interactive. */
enum kl_keep { KL_KEEP_BACKGROUND, KL_KEEP_INTERACTIVE, KL_KEEP_PINNED };

/* max_pages 0: it stays empty. At most half of the pages are pinned. store may be NULL; kv and
 * store must outlive the cache. */
enum kl_status kl_prefix_cache_open(struct kl_kv_cache *kv, struct kl_page_store *store,
                                    size_t max_pages, struct kl_prefix_cache **cache,
                                    struct kl_error *err);
void kl_prefix_cache_close(struct kl_prefix_cache *cache); /* NULL is allowed */
size_t kl_prefix_cache_memory(size_t max_pages);           /* bytes of the tree, without pages */

/* Reads pages of tokens[0, n) that memory lacks from disk, at most max_pages in one call, in the
 * caller's thread. Returns whether there may be more. */
bool kl_prefix_cache_load(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                          const int32_t *tokens, size_t n, size_t max_pages);

/* Fills an empty sequence with the longest path of tokens[0, n) in memory, of the scope or pinned.
 * Returns the length of the sequence, which is shorter than the path if memory is short. */
size_t kl_prefix_cache_lookup(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                              const int32_t *tokens, size_t n, struct kl_sequence *sequence);

/* Adds the pages of the first n tokens of a sequence, as many as there is room for. If n ends
 * inside a page, the sequence must not write to that page any more. */
void kl_prefix_cache_insert(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                            const int32_t *tokens, size_t n, const struct kl_sequence *sequence);

/* Evicts pages, in the end even pinned ones, until the KV cache has room for n_pages more. false:
 * there are no pages left to evict, and not enough room. */
bool kl_prefix_cache_make_room(struct kl_prefix_cache *cache, size_t n_pages);

struct kl_prefix_cache_stats {
    size_t pages, pinned_pages, max_pages;
    uint64_t evictions; /* pages */
    uint64_t loaded;    /* pages, from the store */
};
struct kl_prefix_cache_stats kl_prefix_cache_stats(const struct kl_prefix_cache *cache);

#endif
