/*
 * A set of strings as a trie, for enum, const and the names of properties. Immutable once built.
 *
 * A node stands for the strings that begin with the bytes that lead to it, which are a range of the
 * sorted strings. Internal to schema/.
 */
#ifndef KL_SCHEMA_STRING_SET_H
#define KL_SCHEMA_STRING_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Decoded UTF-8, not NUL-terminated, may contain NUL. */
struct kl_schema_text {
    const char *bytes;
    uint32_t len;
};

struct kl_string_set_node {
    uint32_t first_child, n_children; /* children are sorted by byte */
    uint32_t first, n;                /* strings in the subtree: of `sorted` */
    uint8_t byte;                     /* leads here */
    bool ends;                        /* the string `first` ends here */
};

struct kl_string_set {
    struct kl_string_set_node *nodes; /* [n_nodes] the root first */
    size_t n_nodes;
    struct kl_schema_text *sorted; /* [n] by bytes */
    uint32_t *place;               /* [n] index that sorted[i] had when the set was built */
    size_t n;
};

/* No string of the set begins like this. */
#define KL_STRING_SET_DEAD UINT32_MAX

/* Equal strings are kept once, at the first place. The bytes of texts are borrowed. To be released
 * even if it fails. KL_ERR_MEMORY. */
enum kl_status kl_string_set_build(struct kl_string_set *set, const struct kl_schema_text *texts,
                                   size_t n, struct kl_error *err);
void kl_string_set_release(struct kl_string_set *set);
size_t kl_string_set_bytes(const struct kl_string_set *set);

/* Returns the place of a string in the sorted ones; it must be in the set. */
size_t kl_string_set_find(const struct kl_string_set *set, struct kl_schema_text text);

/* Returns the node after one more byte, or KL_STRING_SET_DEAD. */
static inline uint32_t kl_string_set_step(const struct kl_string_set *set, uint32_t node,
                                          uint8_t byte)
{
    if (node == KL_STRING_SET_DEAD)
        return node;
    const struct kl_string_set_node *at = &set->nodes[node];
    for (uint32_t i = 0; i < at->n_children; i++)
        if (set->nodes[at->first_child + i].byte == byte)
            return at->first_child + i;
    return KL_STRING_SET_DEAD;
}

#endif
