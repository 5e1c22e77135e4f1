/*
 * The merges of a byte-level BPE vocabulary: the rank of a pair of tokens and the token that it
 * becomes. Internal to text/.
 *
 * Read from tokenizer.ggml.merges and checked, or pointed into a mapped file (tables.c). Read-only
 * after loading: any number of threads may use it. It does not merge anything itself (bpe.h).
 */
#ifndef KL_TEXT_MERGES_H
#define KL_TEXT_MERGES_H

#include "text/vocab.h"

/* A slot of the table is left id, right id, rank in 21 bits each; KL_MERGE_EMPTY is empty. */
#define KL_MERGE_ID_BITS 21
#define KL_MERGE_EMPTY   UINT64_MAX
#define KL_MERGE_NO_RANK UINT32_MAX

_Static_assert(KL_VOCAB_MAX < 1u << KL_MERGE_ID_BITS, "ids fit a slot, and no slot can look empty");

struct kl_merges {
    int32_t byte_ids[256]; /* the tokens of the single bytes; -1: no such token */
    bool lacks_bytes;      /* some are -1 */
    uint64_t *slots;       /* open addressing; [mask + 1] */
    uint64_t mask;
    int32_t *results; /* [n]: the token that the merge of this rank makes */
    size_t n;
    bool borrowed; /* the arrays point into a mapped file and are not freed */
};

/* Reads tokenizer.ggml.merges; both halves and the result of each must be normal tokens of v.
 * KL_ERR_FORMAT names the entry that is wrong. */
enum kl_status kl_merges_load(struct kl_merges *m, const struct kl_gguf *gguf,
                              const struct kl_vocab *v, struct kl_error *err);
void kl_merges_release(struct kl_merges *m);

/* Sets lacks_bytes once byte_ids are filled. */
void kl_merges_note_lacking(struct kl_merges *m);

struct kl_merge {
    int32_t left, right;
    uint32_t rank;
};

/* The merge in slot i <= mask, in no particular order; false: the slot is empty. */
bool kl_merges_at(const struct kl_merges *m, uint64_t i, struct kl_merge *merge);

static inline uint64_t kl_merge_pair(int32_t left, int32_t right)
{
    return (uint64_t)left << KL_MERGE_ID_BITS | (uint64_t)right;
}

/* The multiplier is 2^64 divided by the golden ratio (Knuth, TAOCP 6.4). */
static inline uint64_t kl_merge_hash(uint64_t pair)
{
    return (pair * 0x9E3779B97F4A7C15u) >> 32;
}

/* The rank of the merge of two tokens, or KL_MERGE_NO_RANK. Borrowed slots can change while they
 * are in use: the search ends all the same, and a rank that is returned is below n. */
static inline uint32_t kl_merges_rank(const struct kl_merges *m, int32_t left, int32_t right)
{
    uint64_t pair = kl_merge_pair(left, right), hash = kl_merge_hash(pair);
    for (uint64_t i = 0; i <= m->mask; i++) {
        uint64_t slot = m->slots[(hash + i) & m->mask];
        if (slot == KL_MERGE_EMPTY)
            break;
        uint32_t rank = (uint32_t)(slot & ((1u << KL_MERGE_ID_BITS) - 1));
        if (slot >> KL_MERGE_ID_BITS == pair)
            return rank < m->n ? rank : KL_MERGE_NO_RANK;
    }
    return KL_MERGE_NO_RANK;
}

static inline void kl_merges_prefetch(const struct kl_merges *m, int32_t left, int32_t right)
{
    __builtin_prefetch(&m->slots[kl_merge_hash(kl_merge_pair(left, right)) & m->mask]);
}

#endif
