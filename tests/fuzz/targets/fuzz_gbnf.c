/*
 * Compiles GBNF grammars (the input up to its first zero byte), and runs them over the rest, alone
 * and as calls of tools: no state gets stuck, a trial changes nothing, and memory is bounded.
 */
#include <string.h>

#include "fuzz.h"
#include "grammar/calls_rule.h"
#include "grammar/gbnf.h"

/* Whether some byte may follow; tries all of them, and forgets what was reached. */
static bool goes_on(struct kl_machine *machine, const struct kl_rule_state *state)
{
    const struct kl_machine_kind *kind = machine->kind;
    struct kl_rule_state to;
    bool found = false;
    size_t mark = kind->mark(machine);
    for (int byte = 0; byte < 256; byte++)
        found = kind->step(machine, state, (uint8_t)byte, &to) || found;
    kind->release(machine, mark);
    PROMISE(kind->mark(machine) == mark);
    return found;
}

static void run(struct kl_machine *machine, const uint8_t *data, size_t size)
{
    const struct kl_machine_kind *kind = machine->kind;
    struct kl_rule_state now, next, again;
    kind->begin(machine, &now);
    for (size_t i = 0; i < size; i++) {
        bool complete = kind->is_complete(machine, &now);
        bool stuck = !complete && !goes_on(machine, &now);
        PROMISE(!stuck || machine->failure.status != KL_OK);
        PROMISE(kind->is_complete(machine, &now) == complete);
        if (!kind->step(machine, &now, data[i], &next))
            break;
        PROMISE(kind->step(machine, &now, data[i], &again));
        PROMISE(memcmp(&next, &again, sizeof next) == 0);
        now = next;
    }
    PROMISE(kind->bytes(machine) < 32u << 20);
    PROMISE(machine->failure.status == KL_OK || machine->failure.status == KL_ERR_LIMIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const uint8_t *zero = size == 0 ? NULL : memchr(data, 0, size);
    size_t len = zero == NULL ? size : (size_t)(zero - data);
    struct kl_rule *rule = NULL;
    struct kl_error err = {0};
    enum kl_status status = kl_gbnf_compile(text, len, &rule, &err);
    PROMISE((status == KL_OK) == (rule != NULL));
    if (status != KL_OK) {
        PROMISE(status == KL_ERR_INVALID || status == KL_ERR_UNSUPPORTED || status == KL_ERR_LIMIT);
        PROMISE(strncmp(err.text, "grammar", 7) == 0);
        return 0;
    }
    static const char *const names[] = {"\"a\""};
    static const char *const excluded[] = {"a", "{\"name\": \"a\"}"};
    struct kl_calls demanded = {.call = rule,
                                .names = names,
                                .n_names = 1,
                                .excluded = excluded,
                                .n_excluded = 2,
                                .is_demanded = true};
    struct kl_rule *calls = NULL;
    status = kl_calls_rule(&demanded, &calls, &err);
    PROMISE(status == KL_OK || status == KL_ERR_LIMIT); /* of a machine */
    struct kl_machine *machine;
    for (int i = 0; i < 2; i++) {
        struct kl_rule *r = i == 0 ? rule : calls;
        if (r == NULL)
            continue;
        PROMISE(r->kind->open(r, &machine, &err) == KL_OK);
        if (zero != NULL)
            run(machine, zero + 1, size - len - 1);
        machine->kind->close(machine);
    }
    kl_rule_disown(rule);
    kl_rule_disown(calls);
    return 0;
}
