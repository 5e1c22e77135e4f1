#include "grammar/token_trie.h"

#include <stdlib.h>

#include "grammar/token_trie_state.h"

/* Collects the tokens that a rule can allow by their bytes, and those that end an answer. */
static size_t collect(struct kl_token_trie *trie, struct kl_token_item *items)
{
    size_t n = 0;
    for (size_t i = 0; i < trie->n_vocab; i++) {
        int32_t id = (int32_t)i;
        size_t len;
        const char *bytes = kl_tokenizer_piece(trie->tokenizer, id, &len);
        if (kl_tokenizer_is_end(trie->tokenizer, id)) {
            if (trie->n_ends < KL_TOKEN_ENDS_MAX)
                trie->ends[trie->n_ends++] = id;
        } else if (len > 0 && !kl_tokenizer_is_control(trie->tokenizer, id)) {
            items[n++] = kl_token_item(bytes, len, (uint32_t)i);
        }
    }
    return n;
}

enum kl_status kl_token_trie_open(const struct kl_tokenizer *tokenizer, struct kl_token_trie **out,
                                  struct kl_error *err)
{
    *out = NULL;
    size_t n_vocab = kl_tokenizer_size(tokenizer);
    struct kl_token_trie *trie = calloc(1, sizeof *trie);
    struct kl_token_item *items = malloc((n_vocab + 1) * sizeof *items);
    enum kl_status status = KL_OK;
    if (trie == NULL || items == NULL)
        status = kl_fail_memory(err, "the trie of tokens", (n_vocab + 1) * sizeof *items);
    if (status == KL_OK) {
        trie->tokenizer = tokenizer;
        trie->n_vocab = n_vocab;
        size_t n = collect(trie, items);
        status = kl_token_items_sort(items, n, err);
        if (status == KL_OK)
            status = kl_token_nodes_make(&trie->tokens, items, n, err);
        if (status == KL_OK && !kl_token_blanks_make(&trie->blanks, &trie->tokens))
            status = kl_fail_memory(err, "the trie of tokens", trie->tokens.n * sizeof(uint32_t));
        if (status == KL_OK)
            status = kl_token_sets_make(&trie->sets, items, n, n_vocab, err);
    }
    free(items);
    if (status == KL_OK)
        *out = trie;
    else
        kl_token_trie_close(trie);
    return status;
}

void kl_token_trie_close(struct kl_token_trie *trie)
{
    if (trie == NULL)
        return;
    kl_token_nodes_release(&trie->tokens);
    kl_token_blanks_release(&trie->blanks);
    kl_token_sets_release(&trie->sets);
    free(trie);
}

size_t kl_token_trie_bytes(const struct kl_token_trie *trie)
{
    return sizeof *trie + kl_token_nodes_bytes(&trie->tokens) +
           kl_token_blanks_bytes(&trie->blanks) + kl_token_sets_bytes(&trie->sets);
}

size_t kl_token_trie_vocab(const struct kl_token_trie *trie)
{
    return trie->n_vocab;
}
