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

#include "text/merges.h"
#include "text/tokens.h"

struct kl_bpe {
    struct kl_merges merges;
    uint32_t *chars; /* [KL_CHAR_TOKENS]: see char_tokens.h; borrowed when the merges are */
};

/* Loads the merges of v and makes the table of characters of them. */
enum kl_status kl_bpe_load(struct kl_bpe *bpe, const struct kl_gguf *gguf, const struct kl_vocab *v,
                           struct kl_error *err);
void kl_bpe_release(struct kl_bpe *bpe);

/* Memory for long pieces, reused from one to the next by the same tokenizer. Initialise with {0}.
 */
struct kl_bpe_scratch {
    struct kl_bpe_node *nodes; /* [allocated + 1] */
    struct kl_bpe_list *lists; /* [merges.n + 1], by rank */
    uint32_t *heap;            /* [merges.n + 1] ranks */
    size_t n_heap;
    size_t allocated;           /* the longest piece that fits, in bytes */
    size_t n_nodes, n_enlisted; /* of the piece that was begun */
};

void kl_bpe_scratch_release(struct kl_bpe_scratch *scratch);

/* Appends the ids of piece[0..len), 0 < len < 2^31; bytes without a token are dropped first, as
 * `tokenizers` does without an unk_token. KL_OK or KL_ERR_MEMORY. */
enum kl_status kl_bpe_encode(const struct kl_bpe *bpe, const char *piece, size_t len,
                             struct kl_bpe_scratch *scratch, struct kl_tokens *out);

/* The same for a long piece in bounded steps: begin, steps until one returns true (each
 * subtracts from *effort about one per byte examined or merge), finish. A piece abandoned half-way
 * leaves a scratch that must be released. */
enum kl_status kl_bpe_begin(const struct kl_bpe *bpe, const char *piece, size_t len,
                            struct kl_bpe_scratch *scratch);
bool kl_bpe_step(const struct kl_bpe *bpe, struct kl_bpe_scratch *scratch, size_t *effort);
enum kl_status kl_bpe_finish(const struct kl_bpe_scratch *scratch, struct kl_tokens *out);

#endif
