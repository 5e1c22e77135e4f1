/* The parts of a token trie. Internal to grammar/; constant once it is open. */
#ifndef KL_GRAMMAR_TOKEN_TRIE_STATE_H
#define KL_GRAMMAR_TOKEN_TRIE_STATE_H

#include "grammar/token_blanks.h"
#include "grammar/token_nodes.h"
#include "grammar/token_sets.h"
#include "grammar/token_trie.h"

/* No vocabulary has more tokens that end an answer: they are named by keys of the file, or known by
 * name. */
#define KL_TOKEN_ENDS_MAX 16

struct kl_token_trie {
    const struct kl_tokenizer *tokenizer;
    size_t n_vocab;
    struct kl_token_nodes tokens; /* values: ids */
    struct kl_token_blanks blanks;
    struct kl_token_sets sets;
    int32_t ends[KL_TOKEN_ENDS_MAX];
    size_t n_ends;
};

#endif
