/*
 * A store of short arrays of words, each kept once: equal arrays have equal numbers.
 *
 * Machines keep their stack frames and sets in it, so that a state is a few numbers and equal
 * states are equal by their numbers. Entries are never changed; they are forgotten in the reverse
 * order of their creation (_release), which undoes a trial. Bounded by a limit of bytes. One
 * thread.
 */
#ifndef KL_GRAMMAR_WORD_STORE_H
#define KL_GRAMMAR_WORD_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_word_store {
    uint32_t *words; /* entries one after the other; the number of an entry is where it is */
    size_t n, room;  /* words */
    uint32_t *heads; /* [n_heads] the newest entry of each chain, 0: none */
    size_t n_heads;  /* a power of two */
    size_t n_entries;
    uint32_t newest;
    size_t max_bytes;
    enum kl_status failure; /* sticks: KL_ERR_MEMORY, KL_ERR_LIMIT */
};

void kl_word_store_init(struct kl_word_store *store, size_t max_bytes);
void kl_word_store_free(struct kl_word_store *store);
size_t kl_word_store_bytes(const struct kl_word_store *store);

/* Returns the number of the entry with these words, never 0; 0: failure is set. words must not
 * point into the store. */
uint32_t kl_word_store_put(struct kl_word_store *store, const uint32_t *words, size_t n);

/* Returns the words of an entry: valid until the next _put. */
const uint32_t *kl_word_store_get(const struct kl_word_store *store, uint32_t entry, size_t *n);

/* A word that the caller may set, 0 at first: valid until the next _put. */
uint32_t *kl_word_store_value(struct kl_word_store *store, uint32_t entry);

/* Forgets the entries that were made after _mark returned this value. */
size_t kl_word_store_mark(const struct kl_word_store *store);
void kl_word_store_release(struct kl_word_store *store, size_t mark);

#endif
