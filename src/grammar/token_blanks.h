/*
 * The white space of a trie of tokens: vocabularies have hundreds of tokens of white space, and
 * behind each of them other tokens go on. Where a rule allows any white space (JSON between its
 * parts), all of them lead to one state, so that it is enough to know which bytes may follow there.
 * Internal to grammar/. Immutable once made.
 */
#ifndef KL_GRAMMAR_TOKEN_BLANKS_H
#define KL_GRAMMAR_TOKEN_BLANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/token_nodes.h"

struct kl_token_blanks {
    uint32_t *values; /* [n_values] of strings of white space only */
    size_t n_values;
    /* The first nodes behind white space, by their byte: those of byte b are
     * nodes[from[b]] to nodes[from[b + 1] - 1]. */
    uint32_t *nodes;
    uint32_t from[257];
};

/* The white space of JSON. */
static inline bool kl_is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/* false: no memory. */
bool kl_token_blanks_make(struct kl_token_blanks *blanks, const struct kl_token_nodes *trie);
void kl_token_blanks_release(struct kl_token_blanks *blanks);
size_t kl_token_blanks_bytes(const struct kl_token_blanks *blanks);

#endif
