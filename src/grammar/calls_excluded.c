#include <stdlib.h>
#include <string.h>

#include "grammar/calls_parts.h"

/* Whether another byte than that of the text may follow its first `len` bytes, in a way that is not
 * excluded. state: behind these bytes. */
static bool has_another(const struct kl_calls_of_rule *r, struct kl_machine *call,
                        const struct kl_rule_state *state, const char *text, size_t len)
{
    struct kl_rule_state to;
    for (int byte = 1; byte < 256; byte++) {
        if ((uint8_t)text[len] == byte)
            continue;
        bool is_out = false;
        for (size_t i = 0; i < r->excluded.n; i++)
            is_out = is_out || (r->last[i] == len && (uint8_t)r->excluded.texts[i][len] == byte &&
                                strncmp(r->excluded.texts[i], text, len) == 0);
        if (!is_out && call->kind->step(call, state, (uint8_t)byte, &to))
            return true;
    }
    return false;
}

/* Finds the last byte of an excluded text that can be refused: behind the bytes before it, another
 * one may follow. UINT16_MAX: the rule does not write it; 0: all calls are excluded. */
static uint16_t find_last(const struct kl_calls_of_rule *r, struct kl_machine *call,
                          const char *text, struct kl_rule_state *states)
{
    const struct kl_machine_kind *kind = call->kind;
    size_t len = strlen(text), n = 0, mark = kind->mark == NULL ? 0 : kind->mark(call);
    kind->begin(call, &states[0]);
    while (n < len && kind->step(call, &states[n], (uint8_t)text[n], &states[n + 1]))
        n++;
    size_t last = UINT16_MAX;
    if (n == len && kind->is_complete(call, &states[len])) {
        last = len - 1;
        while (last > 0 && !has_another(r, call, &states[last], text, last))
            last--;
    }
    if (kind->release != NULL)
        kind->release(call, mark);
    return (uint16_t)last;
}

static enum kl_status find_all(struct kl_calls_of_rule *r, struct kl_machine *call,
                               struct kl_error *err)
{
    struct kl_rule_state *states = malloc((KL_CALLS_MAX_TEXT + 1) * sizeof *states);
    if (states == NULL)
        return kl_fail_memory(err, "calls", (KL_CALLS_MAX_TEXT + 1) * sizeof *states);
    for (size_t i = 0; i < r->excluded.n; i++)
        r->last[i] = UINT16_MAX;
    /* One text may take the other way of another one that was looked at before, so they are looked
     * at again until nothing changes: each round moves one forward. */
    bool has_changed = true;
    for (size_t round = 0; has_changed && round <= r->excluded.n; round++) {
        has_changed = false;
        for (size_t i = 0; i < r->excluded.n; i++) {
            uint16_t last = find_last(r, call, r->excluded.texts[i], states);
            has_changed = has_changed || last != r->last[i];
            r->last[i] = last;
            r->has_none = r->has_none || last == 0;
        }
    }
    free(states);
    if (call->failure.status == KL_OK)
        return KL_OK;
    return kl_fail(err, call->failure.status, "%s", call->failure.text);
}

enum kl_status kl_calls_exclude(struct kl_calls_of_rule *r, struct kl_error *err)
{
    struct kl_machine *call;
    enum kl_status status = r->call->kind->open(r->call, &call, err);
    if (status != KL_OK)
        return status;
    status = find_all(r, call, err);
    call->kind->close(call);
    if (r->has_none && r->is_demanded) {
        r->has_none = false;
        for (size_t i = 0; i < r->excluded.n; i++)
            r->last[i] = UINT16_MAX;
    }
    return status;
}
