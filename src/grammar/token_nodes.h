/*
 * The layout of the token trie. Internal to grammar/.
 *
 * Nodes lie in depth-first order in one array, so a walk reads it forwards: the next node is the
 * first child, or behind the subtree of a node whose byte is not allowed. A node has its depth, so
 * that a walk needs no stack but one of states: the state before node `i` is the one at depth - 1.
 */
#ifndef KL_GRAMMAR_TOKEN_NODES_H
#define KL_GRAMMAR_TOKEN_NODES_H

#include "grammar/token_trie.h"

struct kl_token_node {
    unsigned token : 21; /* its id + 1; 0: no token ends here */
    unsigned depth : 11; /* bytes up to and with this one: 1 to KL_TOKEN_MAX_BYTES */
    unsigned byte : 8;
    unsigned size : 24; /* nodes of the subtree, this one included */
};
#define KL_TOKEN_NODES_MAX ((1u << 24) - 1)

/* No vocabulary has more tokens that end an answer: they have names, or keys of the file. */
#define KL_TOKEN_ENDS_MAX 16

struct kl_token_trie {
    const struct kl_tokenizer *tokenizer;
    size_t n_vocab;
    struct kl_token_node *nodes; /* [n_nodes], those of depth 1 have no parent */
    size_t n_nodes;
    size_t max_depth;
    int32_t ends[KL_TOKEN_ENDS_MAX]; /* the tokens that end an answer */
    size_t n_ends;
};

#endif
