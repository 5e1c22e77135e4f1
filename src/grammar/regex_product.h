/*
 * One regular expression for several demands on the same text: all of these match, none of those,
 * and the length is within bounds.
 *
 * The automaton is computed as a whole and trimmed, so that, as with every kl_regex, a state that
 * is not dead can be continued to a match: a text that is written by it never gets stuck.
 */
#ifndef KL_GRAMMAR_REGEX_PRODUCT_H
#define KL_GRAMMAR_REGEX_PRODUCT_H

#include "grammar/regex.h"

struct kl_regex_term {
    const struct kl_regex *regex;
    bool is_negated; /* it must not match */
};

/* States of the product: 10,000 take some 10 ms. */
#define KL_REGEX_MAX_PRODUCT 10000

/* Lengths are in code points; max UINT32_MAX: none. Texts are valid UTF-8. *regex is NULL if no
 * text is left. KL_ERR_LIMIT: over KL_REGEX_MAX_PRODUCT; KL_ERR_MEMORY. */
enum kl_status kl_regex_product(const struct kl_regex_term *terms, size_t n, uint32_t min_length,
                                uint32_t max_length, struct kl_regex **regex, struct kl_error *err);

#endif
