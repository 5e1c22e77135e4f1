/*
 * Finds values by a hash: a multimap of 64-bit hashes to numbers, which are mostly indexes of what
 * was hashed. The caller compares what the numbers stand for.
 *
 * Zeroed storage of the caller's is an empty index. Nothing is removed. One thread at a time.
 * Internal to schema/.
 */
#ifndef KL_SCHEMA_HASH_INDEX_H
#define KL_SCHEMA_HASH_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_hash_index {
    struct kl_hash_index_slot {
        uint64_t hash;
        uint32_t value;
        bool used;
    } * slots;
    size_t n, room; /* room: a power of two, or 0 */
};

void kl_hash_index_release(struct kl_hash_index *index);

/* KL_ERR_MEMORY. */
enum kl_status kl_hash_index_add(struct kl_hash_index *index, uint64_t hash, uint32_t value,
                                 struct kl_error *err);

/* Sets *value to the next number with this hash; false: there is none. *at: 0 at first. */
bool kl_hash_index_next(const struct kl_hash_index *index, uint64_t hash, size_t *at,
                        uint32_t *value);

#endif
