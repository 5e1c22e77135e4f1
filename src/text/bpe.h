/*
 * Byte-pair encoding of one piece. Internal to text/.
 *
 * The pair of neighbours with the lowest rank is merged, the leftmost of equals first, until none
 * has a rank (Sennrich et al. 2016, as the `tokenizers` library does it). Short pieces by the
 * minima of blocks of ranks; long ones with a list of places for each rank and a heap of the ranks
 * that have one: O(n) changes to lists, and a heap operation, O(log of the number of ranks), only
 * when a list gets its first place or runs out. Linear memory, no recursion.
 */
#ifndef KL_TEXT_BPE_H
#define KL_TEXT_BPE_H

#include "text/tokenizer.h"
#include "text/vocab.h"

/* A slot of the table of merges is left id, right id, rank in 21 bits each; UINT64_MAX is empty. */
struct kl_bpe {
    int32_t byte_ids[256]; /* the tokens of the single bytes; -1: there is none */
    bool lacks_bytes;      /* some are -1 */
    uint64_t *slots;       /* open addressing; [mask + 1] */
    uint64_t mask;
    int32_t *results; /* [n_merges]: the token that the merge of this rank makes */
    size_t n_merges;
    uint32_t *chars; /* [KL_CHAR_TOKENS]: see char_tokens.h */
    bool borrowed;   /* the arrays belong to somebody else: a mapped file */
};

#define KL_BPE_NO_RANK UINT32_MAX

/* The rank of the merge of two tokens, or KL_BPE_NO_RANK. */
uint32_t kl_bpe_rank(const struct kl_bpe *bpe, int32_t left, int32_t right);

struct kl_merge {
    int32_t left, right;
    uint32_t rank;
};

/* The merge in slot i <= mask, in no set order; false: the slot is empty. */
bool kl_bpe_merge_at(const struct kl_bpe *bpe, uint64_t i, struct kl_merge *merge);

/* Notes which bytes have no token, when byte_ids are filled. */
void kl_bpe_note_lacking(struct kl_bpe *bpe);

/* Reads tokenizer.ggml.merges; both halves and the result of each must be normal tokens of v. */
enum kl_status kl_bpe_load(struct kl_bpe *bpe, const struct kl_gguf *gguf, const struct kl_vocab *v,
                           struct kl_error *err);
void kl_bpe_release(struct kl_bpe *bpe);

/* Memory for long pieces, reused from one to the next by the same tokenizer. Initialise with {0}.
 */
struct kl_bpe_scratch {
    struct kl_bpe_node *nodes; /* [allocated + 1] */
    struct kl_bpe_list *lists; /* [n_merges + 1], by rank */
    uint32_t *heap;            /* [n_merges + 1] ranks */
    size_t n_heap;
    size_t allocated;           /* pieces of up to so many bytes */
    size_t n_nodes, n_enlisted; /* of the piece that was begun */
};

void kl_bpe_scratch_release(struct kl_bpe_scratch *scratch);

/* Appends the ids of piece[0..len), 0 < len < 2^31; bytes that have no token are left out first, as
 * `tokenizers` does it where there is no unk_token. KL_OK or KL_ERR_MEMORY. */
enum kl_status kl_bpe_encode(const struct kl_bpe *bpe, const char *piece, size_t len,
                             struct kl_bpe_scratch *scratch, struct kl_tokens *out);

/* The same for a long piece a bounded work at a time: begin, steps until one returns true (each
 * takes off *effort about one for a byte that is looked at or a merge), finish. A piece that is
 * given up half-way leaves a scratch that has to be released. */
enum kl_status kl_bpe_begin(const struct kl_bpe *bpe, const char *piece, size_t len,
                            struct kl_bpe_scratch *scratch);
bool kl_bpe_step(const struct kl_bpe *bpe, struct kl_bpe_scratch *scratch, size_t *effort);
enum kl_status kl_bpe_finish(const struct kl_bpe_scratch *scratch, struct kl_tokens *out);

#endif
