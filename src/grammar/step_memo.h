/*
 * The steps of a machine, remembered as a table: a walk of many tokens tries the same bytes in the
 * same few states again and again (in a pattern such as [a-z0-9]+ in one). Internal to grammar/.
 *
 * States get small numbers; when there are no more of these, the machine is asked. Belongs to one
 * walk.
 */
#ifndef KL_GRAMMAR_STEP_MEMO_H
#define KL_GRAMMAR_STEP_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/rule.h"
#include "grammar/token_spans.h"

#define KL_STEP_MEMO_STATES 256

/* Numbers in `next` that are no state: these are from 1 to KL_STEP_MEMO_STATES. */
#define KL_STEP_UNKNOWN 0
#define KL_STEP_REFUSED UINT16_MAX
#define KL_STEP_CLOSES  (UINT16_MAX - 1) /* from a plain state: behind the closing quote */

struct kl_step_memo {
    struct kl_rule_state states[KL_STEP_MEMO_STATES + 1];
    uint16_t next[KL_STEP_MEMO_STATES + 1][256];
    /* where all bytes of a class lead; KL_STEP_REFUSED: not all are allowed, or not to one state */
    uint16_t next_of_class[KL_STEP_MEMO_STATES + 1][KL_BYTE_CLASSES];
    bool not_free[KL_STEP_MEMO_STATES + 1];  /* it is known that it is no free string */
    bool is_plain[KL_STEP_MEMO_STATES + 1];  /* it is a plain state (rule.h) of others */
    uint16_t slots[2 * KL_STEP_MEMO_STATES]; /* open addressing: numbers, or 0 */
    size_t n;
};

/* Forgets all states. */
void kl_step_memo_clear(struct kl_step_memo *memo);

/* The number of a state; 0: there is no room. is_plain: it is the plain state of others. */
uint16_t kl_step_memo_number(struct kl_step_memo *memo, const struct kl_rule_state *state,
                             bool is_plain);

#endif
