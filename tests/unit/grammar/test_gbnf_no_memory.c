/* src/grammar/gbnf.c, regex_rule.c, triggers.c: every allocation fails once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "failing_memory.h"
#include "grammar/gbnf.h"
#include "grammar/regex_rule.h"
#include "grammar/triggers.h"

/* Many places, but not at once: lists grow while the machine runs. */
static const char text[] = "root ::= \"{\" ([^\"é] | pair){0,200} (\"z\"?){150} \"}\"\n"
                           "pair ::= \"\\\"\" root? \"\\\"\" | \"\\\"\" root \"'\"\n";

/* A grammar, a regex and a choice behind triggers. */
static enum kl_status make(struct kl_rule **rule, struct kl_error *err)
{
    struct kl_rule *grammar = NULL, *regex = NULL, *choice = NULL;
    enum kl_status status = kl_gbnf_compile(text, strlen(text), &grammar, err);
    if (status == KL_OK)
        status = kl_regex_rule("[a-zé]+(x|y)", 13, &regex, err);
    if (status == KL_OK)
        status = kl_choice_rule((const char *[]){"one", "two"}, 2, &choice, err);
    const struct kl_trigger triggers[] = {{"{", true, grammar, "", true},
                                          {"<g>", false, grammar, "</g>", false},
                                          {"<r>", false, regex, ";", false},
                                          {"<c>", false, choice, "", false}};
    if (status == KL_OK)
        status = kl_triggers_rule(triggers, 4, rule, err);
    kl_rule_disown(grammar);
    kl_rule_disown(regex);
    kl_rule_disown(choice);
    return status;
}

static void fails_with_a_status_and_leaks_nothing(void **state)
{
    (void)state;
    static const char answer[] = "{\"{\"{a}\"}\"} <r>abcx; <c>two <g>{\"{a\"{}'}\"}</g>";
    long n = 0;
    size_t n_machines = 0;
    for (bool reached = true; reached; n++) {
        struct kl_rule *rule = NULL;
        struct kl_machine *machine = NULL;
        struct kl_error err = {0};
        size_t taken = 0;
        fail_at(n, false);
        enum kl_status status = make(&rule, &err);
        if (status == KL_OK)
            status = rule->kind->open(rule, &machine, &err);
        if (status == KL_OK) {
            struct kl_rule_state now;
            machine->kind->begin(machine, &now);
            while (answer[taken] != '\0' &&
                   machine->kind->step(machine, &now, (uint8_t)answer[taken], &now))
                taken++;
            status = machine->failure.status;
            err = machine->failure;
            n_machines++;
        }
        reached = fail_no_more() > n;
        assert_int_equal(status, reached ? KL_ERR_MEMORY : KL_OK);
        if (reached)
            assert_non_null(strstr(err.text, "memory"));
        else
            assert_int_equal(taken, strlen(answer));
        if (machine != NULL)
            machine->kind->close(machine);
        kl_rule_disown(rule);
    }

    assert_true(n > 60 && n_machines > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fails_with_a_status_and_leaks_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
