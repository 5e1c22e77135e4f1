/*
 * The tokens of a vocabulary by what they are inside a JSON string, between two characters:
 * most masks are there, and most tokens are allowed, so that they are not tried one by one.
 * Internal to grammar/. Immutable once made.
 *
 * Inside: tokens whose bytes all stay in the string. They are kept as masks: one for each small
 * number of characters that may follow, and one of all.
 * Closing: tokens with the closing quote, grouped by the bytes behind it. The groups are a trie, so
 * that one walk tells which groups the rule allows behind the string.
 */
#ifndef KL_GRAMMAR_TOKEN_SETS_H
#define KL_GRAMMAR_TOKEN_SETS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "grammar/string_bytes.h"
#include "grammar/token_nodes.h"

/* A token and the characters that begin in it, up to the closing quote. */
struct kl_string_token {
    uint32_t id, chars;
};

/* The same for one that closes the string, with the byte behind the quote, or -1: none. */
struct kl_closing_token {
    uint32_t id;
    uint16_t chars;
    int16_t behind;
};

#define KL_TOKEN_SETS_MASKS 16 /* longer tokens are few and are removed one by one */

struct kl_token_sets {
    struct kl_string_table table;
    struct kl_byte_classes classes;
    size_t n_words;                 /* of a mask: n_vocab / 64 + 1 */
    struct kl_string_token *inside; /* [n_inside] the most characters first */
    size_t n_inside;
    uint64_t *masks; /* [KL_TOKEN_SETS_MASKS + 1][n_words]: at most 1, 2, ... characters, all */
    size_t n_mask[KL_TOKEN_SETS_MASKS + 1];
    struct kl_string_token *closing; /* [n_closing] by group */
    size_t n_closing;
    struct kl_closing_token *to_try; /* [n_closing] in the order of their bytes */
    /* The values of the trie are groups; group 0 is that of tokens that end with the quote, and is
     * not in it. */
    struct kl_token_nodes after;
    uint32_t *groups; /* [n_groups + 1] where they begin in `closing` */
    size_t n_groups;
};

/* items: the tokens with their ids as values; they are used for work of its own and lose their
 * contents. */
enum kl_status kl_token_sets_make(struct kl_token_sets *sets, struct kl_token_item *items, size_t n,
                                  size_t n_vocab, struct kl_error *err);
void kl_token_sets_release(struct kl_token_sets *sets);
size_t kl_token_sets_bytes(const struct kl_token_sets *sets);

/* Writes the mask of the tokens inside a string that begin at most `most` characters. Returns their
 * number. */
size_t kl_token_sets_inside(const struct kl_token_sets *sets, uint32_t most, uint64_t *mask);
/* Keeps these in a mask and clears all others. Returns the number of those that are left. */
size_t kl_token_sets_keep_inside(const struct kl_token_sets *sets, uint32_t most, uint64_t *mask);

#endif
