/*
 * A trie of byte strings as one array of nodes. Internal to grammar/.
 *
 * Nodes lie in depth-first order, so a walk reads the array forwards: the next node is the first
 * child, or behind the subtree of a node whose byte is not allowed. A node has its depth, so a walk
 * needs no stack but one of states: the state before node `i` is the one at depth - 1.
 */
#ifndef KL_GRAMMAR_TOKEN_NODES_H
#define KL_GRAMMAR_TOKEN_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_token_node {
    unsigned value : 21; /* of the string that ends here, + 1; 0: none ends here */
    unsigned depth : 11; /* bytes up to and with this one, from 1 on */
    unsigned byte : 8;
    unsigned size : 24; /* nodes of the subtree, this one included */
};
#define KL_TOKEN_NODES_MAX ((1u << 24) - 1)
#define KL_TOKEN_VALUE_MAX ((1u << 21) - 2)
#define KL_TOKEN_DEPTH_MAX ((1u << 11) - 1)

struct kl_token_nodes {
    struct kl_token_node *nodes; /* [n]; those of depth 1 have no parent */
    size_t n;
    size_t max_depth;
};

/* A string with its value, which is at most KL_TOKEN_VALUE_MAX. */
struct kl_token_item {
    uint64_t key; /* for _sort: set by _item */
    const char *bytes;
    uint32_t len; /* 1 to KL_TOKEN_DEPTH_MAX for _make */
    uint32_t value;
};
struct kl_token_item kl_token_item(const char *bytes, size_t len, uint32_t value);

/* Sorts by bytes, equal ones by value. */
enum kl_status kl_token_items_sort(struct kl_token_item *items, size_t n, struct kl_error *err);

/* Makes the trie of sorted strings, each of which occurs once. KL_ERR_LIMIT: more than
 * KL_TOKEN_NODES_MAX nodes. */
enum kl_status kl_token_nodes_make(struct kl_token_nodes *trie, const struct kl_token_item *items,
                                   size_t n, struct kl_error *err);
void kl_token_nodes_release(struct kl_token_nodes *trie);
size_t kl_token_nodes_bytes(const struct kl_token_nodes *trie);

#endif
