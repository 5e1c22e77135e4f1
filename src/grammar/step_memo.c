#include "grammar/step_memo.h"

#include <string.h>

#include "base/hash.h"

#define N_SLOTS (2 * (size_t)KL_STEP_MEMO_STATES)

void kl_step_memo_clear(struct kl_step_memo *memo)
{
    memset(memo->slots, 0, sizeof memo->slots);
    memo->n = 0;
}

uint16_t kl_step_memo_number(struct kl_step_memo *memo, const struct kl_rule_state *state,
                             bool is_plain)
{
    size_t slot = (size_t)kl_hash64(state, sizeof *state, 0) % N_SLOTS;
    for (; memo->slots[slot] != 0; slot = (slot + 1) % N_SLOTS) {
        uint16_t number = memo->slots[slot];
        if (memo->is_plain[number] == is_plain &&
            memcmp(&memo->states[number], state, sizeof *state) == 0)
            return number;
    }
    if (memo->n == KL_STEP_MEMO_STATES)
        return 0;
    uint16_t number = (uint16_t)++memo->n;
    memo->slots[slot] = number;
    memo->states[number] = *state;
    memo->not_free[number] = false;
    memo->is_plain[number] = is_plain;
    memset(memo->next[number], 0, sizeof memo->next[number]);
    memset(memo->next_of_class[number], 0, sizeof memo->next_of_class[number]);
    return number;
}
