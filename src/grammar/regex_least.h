/*
 * The shortest way to a match: how many characters a text must still get. A text with a longest
 * length is then ended in time.
 *
 * Zeroed storage of the caller's, for one run, is empty. One thread.
 */
#ifndef KL_GRAMMAR_REGEX_LEAST_H
#define KL_GRAMMAR_REGEX_LEAST_H

#include "grammar/regex.h"

struct kl_regex_least {
    uint32_t *least; /* [n] by state, plus 1; 0: not known */
    size_t n;
};

void kl_regex_least_release(struct kl_regex_least *memo);

/* Returns the fewest code points that lead from a state of the run to a match, UINT32_MAX if it is
 * dead. Found once for a state, by a search that ends at the first match. *status, KL_OK before, is
 * KL_ERR_MEMORY, or KL_ERR_LIMIT if the search or the run has too many states. */
uint32_t kl_regex_least(struct kl_regex_least *memo, struct kl_regex_run *run, uint32_t state,
                        enum kl_status *status);

#endif
