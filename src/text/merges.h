/*
 * The merges of a vocabulary: which two tokens make a third one, and in which order. Internal to
 * text/.
 *
 * A hash table from a pair of tokens to the rank of its merge; the merge of the lowest rank is done
 * first. Filled from the model file, or borrowed from a mapped file. Read by any thread.
 */
#ifndef KL_TEXT_MERGES_H
#define KL_TEXT_MERGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/vocab.h"

/* A slot is left id, right id, rank in KL_MERGE_BITS each. */
#define KL_MERGE_BITS  21
#define KL_MERGE_EMPTY UINT64_MAX

_Static_assert(KL_VOCAB_MAX < 1u << KL_MERGE_BITS, "ids fit a slot, and no slot looks empty");

struct kl_merges {
    int32_t byte_ids[256]; /* the tokens of the single bytes; -1: none */
    bool lacks_bytes;      /* some are -1 */
    uint64_t *slots;       /* open addressing; [mask + 1] */
    uint64_t mask;
    int32_t *results; /* [n_merges]: the token that the merge of this rank makes */
    size_t n_merges;
    uint32_t *chars; /* [KL_CHAR_TOKENS], filled by char_tokens.h */
    bool borrowed;   /* the arrays belong to a mapped file */
};

#define KL_NO_RANK UINT32_MAX

static inline uint64_t kl_merge_pair(int32_t left, int32_t right)
{
    return (uint64_t)left << KL_MERGE_BITS | (uint64_t)right;
}

/* The multiplier is 2^64 divided by the golden ratio (Knuth, TAOCP 6.4). */
static inline uint64_t kl_merge_hash(uint64_t pair)
{
    return (pair * 0x9E3779B97F4A7C15u) >> 32;
}

/* Returns the rank of the merge of two tokens, or KL_NO_RANK. Borrowed slots may change while they
 * are in use: the search ends even so, and a rank is always below n_merges. */
static inline uint32_t kl_merges_rank(const struct kl_merges *m, int32_t left, int32_t right)
{
    uint64_t pair = kl_merge_pair(left, right), hash = kl_merge_hash(pair);
    for (uint64_t i = 0; i <= m->mask; i++) {
        uint64_t slot = m->slots[(hash + i) & m->mask];
        if (slot == KL_MERGE_EMPTY)
            break;
        uint32_t rank = (uint32_t)(slot & ((1u << KL_MERGE_BITS) - 1));
        if (slot >> KL_MERGE_BITS == pair)
            return rank < m->n_merges ? rank : KL_NO_RANK;
    }
    return KL_NO_RANK;
}

static inline void kl_merges_prefetch(const struct kl_merges *m, int32_t left, int32_t right)
{
    __builtin_prefetch(&m->slots[kl_merge_hash(kl_merge_pair(left, right)) & m->mask]);
}

struct kl_merge {
    int32_t left, right;
    uint32_t rank;
};

/* The merge in slot i <= mask, in no particular order; false: the slot is empty. */
bool kl_merges_at(const struct kl_merges *m, uint64_t i, struct kl_merge *merge);

/* Sets lacks_bytes, after byte_ids were filled. */
void kl_merges_note_lacking(struct kl_merges *m);

/* Reads tokenizer.ggml.merges; both halves and the result of each must be normal tokens of v.
 * Allocates chars, but does not fill it. */
enum kl_status kl_merges_load(struct kl_merges *m, const struct kl_gguf *gguf,
                              const struct kl_vocab *v, struct kl_error *err);
void kl_merges_release(struct kl_merges *m);

#endif
