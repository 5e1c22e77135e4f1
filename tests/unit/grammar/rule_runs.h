/* Runs of rules over texts, for the tests of rules. */
#ifndef KL_TESTS_RULE_RUNS_H
#define KL_TESTS_RULE_RUNS_H

#include <string.h>

#include "grammar/rule.h"

/* Runs a rule over a text of n bytes. Returns the number of bytes that it takes, and whether it is
 * complete there. */
static inline size_t run_rule_over(struct kl_machine *machine, const char *text, size_t n,
                                   bool *complete)
{
    struct kl_rule_state state;
    machine->kind->begin(machine, &state);
    size_t taken = 0;
    while (taken < n && machine->kind->step(machine, &state, (uint8_t)text[taken], &state))
        taken++;
    *complete = machine->kind->is_complete(machine, &state);
    return taken;
}

/* Whether a text is a whole answer. */
static inline bool rule_takes(struct kl_rule *rule, const char *text)
{
    struct kl_machine *machine;
    bool complete;
    if (rule->kind->open(rule, &machine, NULL) != KL_OK)
        return false;
    size_t n = run_rule_over(machine, text, strlen(text), &complete);
    machine->kind->close(machine);
    return n == strlen(text) && complete;
}

/* How many bytes of a text a rule takes. */
static inline size_t rule_stops_at(struct kl_rule *rule, const char *text)
{
    struct kl_machine *machine;
    bool complete;
    if (rule->kind->open(rule, &machine, NULL) != KL_OK)
        return SIZE_MAX;
    size_t n = run_rule_over(machine, text, strlen(text), &complete);
    machine->kind->close(machine);
    return n;
}

#endif
