/*
 * The trie of the bytes of all tokens, and sets of tokens that are needed again and again.
 *
 * Made once for a vocabulary and immutable then; shared by all matchers. token_nodes.h has the
 * layout, token_sets.h and token_blanks.h the sets. Made in some 20 ms for 151,936 tokens, which is
 * why it is not kept in a file: mapping and checking one would take a good part of that.
 */
#ifndef KL_GRAMMAR_TOKEN_TRIE_H
#define KL_GRAMMAR_TOKEN_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/tokenizer.h"

struct kl_token_trie;

/* tokenizer must outlive the trie. */
enum kl_status kl_token_trie_open(const struct kl_tokenizer *tokenizer, struct kl_token_trie **trie,
                                  struct kl_error *err);
void kl_token_trie_close(struct kl_token_trie *trie);
size_t kl_token_trie_bytes(const struct kl_token_trie *trie);
size_t kl_token_trie_vocab(const struct kl_token_trie *trie); /* ids are below it */

#endif
