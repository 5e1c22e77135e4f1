/*
 * How many texts match: whether the texts behind a state of an automaton may be used up.
 *
 * Zeroed storage of the caller's, for one run, is empty. One thread.
 */
#ifndef KL_GRAMMAR_REGEX_COUNT_H
#define KL_GRAMMAR_REGEX_COUNT_H

#include "grammar/regex.h"

/* As many or more, or no end of them: more than the names or items that an answer has memory for.
 * A text that goes on for more than KL_REGEX_MAX_COUNTED bytes is taken for as many. */
#define KL_REGEX_MANY        (1u << 20)
#define KL_REGEX_MAX_COUNTED 512

struct kl_regex_count {
    uint32_t *known; /* [n] by state, plus 1; 0: not known */
    size_t n;
};

void kl_regex_count_release(struct kl_regex_count *memo);

/* Returns how many texts, the empty one among them, lead from a state of the run to a match; at
 * most KL_REGEX_MANY. Found once for a state. *status, KL_OK before, is KL_ERR_MEMORY, or the
 * failure of the run. */
uint32_t kl_regex_count(struct kl_regex_count *memo, struct kl_regex_run *run, uint32_t state,
                        enum kl_status *status);

/* Whether many texts are left behind every state that the run can reach; false also where that
 * takes more than 256 states to find out. *n_states is increased by those that were looked at. */
bool kl_regex_is_endless(struct kl_regex_count *memo, struct kl_regex_run *run, size_t *n_states,
                         enum kl_status *status);

#endif
