/*
 * Masks by the state that they belong to: an answer comes back to few states again and again.
 * Internal to grammar/.
 *
 * Bounded by KL_MASK_CACHE_ENTRIES and KL_MASK_CACHE_BYTES; a full cache is emptied. Belongs to one
 * matcher. A mask that there is no memory for is not kept: no errors.
 */
#ifndef KL_GRAMMAR_MASK_CACHE_H
#define KL_GRAMMAR_MASK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/rule.h"

#define KL_MASK_CACHE_ENTRIES 256
#define KL_MASK_CACHE_BYTES   ((size_t)128 << 10)

struct kl_mask_entry {
    struct kl_rule_state state;
    uint32_t *ids;  /* [n_allowed], or NULL: */
    uint64_t *mask; /* [n_words] */
    size_t n_allowed;
};

struct kl_mask_cache {
    size_t n_words;
    struct kl_mask_entry *entries;             /* [KL_MASK_CACHE_ENTRIES]; NULL while it is empty */
    uint16_t slots[2 * KL_MASK_CACHE_ENTRIES]; /* open addressing: index + 1, or 0 */
    size_t n;
    size_t bytes; /* of the masks */
};

/* n_words: of a mask. Cannot fail. */
void kl_mask_cache_init(struct kl_mask_cache *cache, size_t n_words);
void kl_mask_cache_release(struct kl_mask_cache *cache);
size_t kl_mask_cache_bytes(const struct kl_mask_cache *cache);

/* Writes the mask of a state and the number of its tokens; false: it is not here. */
bool kl_mask_cache_get(const struct kl_mask_cache *cache, const struct kl_rule_state *state,
                       uint64_t *mask, size_t *n_allowed);
/* Keeps the mask of a state that is not here. */
void kl_mask_cache_put(struct kl_mask_cache *cache, const struct kl_rule_state *state,
                       const uint64_t *mask, size_t n_allowed);

#endif
