/*
 * A trie of byte strings as one array of nodes. Internal to grammar/.
 *
 * The children of a node lie next to each other, sorted by byte, so that a walk which refuses most
 * of them reads few cache lines; blocks of children are in the order of a depth-first walk. The
 * values of all strings are kept in the order of their bytes, and large subtrees have a record that
 * names theirs (token_spans.h), so that a whole subtree is allowed at once.
 */
#ifndef KL_GRAMMAR_TOKEN_NODES_H
#define KL_GRAMMAR_TOKEN_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "grammar/token_spans.h"

struct kl_token_node {
    unsigned value : 21; /* of the string that ends here, + 1; 0: none ends here */
    unsigned n : 9;      /* children */
    unsigned is_large : 1;
    unsigned first : 24; /* child */
    unsigned byte : 8;
};
#define KL_TOKEN_NODES_MAX ((1u << 24) - 1)
#define KL_TOKEN_VALUE_MAX ((1u << 21) - 2)
#define KL_TOKEN_LEN_MAX   2047

struct kl_token_nodes {
    struct kl_token_node *nodes; /* [n]; the first n_roots have no parent */
    size_t n, n_roots;
    size_t max_depth;
    struct kl_token_spans spans;
};

/* A string with its value, which is at most KL_TOKEN_VALUE_MAX. */
struct kl_token_item {
    uint64_t key; /* for _sort: set by _item */
    const char *bytes;
    uint32_t len; /* 1 to KL_TOKEN_LEN_MAX for _make */
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
