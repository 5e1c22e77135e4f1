/* src/grammar/gbnf.c, regex_rule.c, calls_rule.c: every allocation fails once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "failing_memory.h"
#include "grammar/calls_rule.h"
#include "grammar/gbnf.h"
#include "grammar/regex_rule.h"

/* Many places, but not at once: lists grow while the machine runs. */
static const char text[] = "root ::= \"{\" ([^\"é] | pair){0,200} (\"z\"?){150} \"}\"\n"
                           "pair ::= \"\\\"\" root? \"\\\"\" | \"\\\"\" root \"'\"\n";

#define CALL "{\"name\": \"f\", \"arguments\": \"abcx\"}"

/* Calls, one of which is excluded, or a text of the grammar. */
static enum kl_status make(struct kl_rule **rule, struct kl_error *err)
{
    static const char regex[] = "\\{\"name\": \"f\", \"arguments\": (\"[a-zé]+(x|y)\"|1|2)\\}";
    static const char *const names[] = {"\"f\""};
    static const char *const excluded[] = {"{\"name\": \"f\", \"arguments\": 1}"};
    struct kl_calls calls = {.names = names, .n_names = 1, .excluded = excluded, .n_excluded = 1};
    enum kl_status status = kl_gbnf_compile(text, strlen(text), &calls.otherwise, err);
    if (status == KL_OK)
        status = kl_regex_rule(regex, strlen(regex), &calls.call, err);
    if (status == KL_OK)
        status = kl_calls_rule(&calls, rule, err);
    kl_rule_disown(calls.otherwise);
    kl_rule_disown(calls.call);
    return status;
}

static size_t take(struct kl_machine *machine, const char *answer)
{
    struct kl_rule_state now;
    size_t taken = 0;
    machine->kind->begin(machine, &now);
    while (answer[taken] != '\0' &&
           machine->kind->step(machine, &now, (uint8_t)answer[taken], &now))
        taken++;
    return taken;
}

static void fails_with_a_status_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const answers[] = {"{\"{\"{a}\"}\"}", "<tool_call>\n" CALL "\n</tool_call>"};
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
            for (int i = 0; i < 2; i++)
                taken += take(machine, answers[i]);
            status = machine->failure.status;
            err = machine->failure;
            n_machines++;
        }
        reached = fail_no_more() > n;
        assert_int_equal(status, reached ? KL_ERR_MEMORY : KL_OK);
        if (reached)
            assert_non_null(strstr(err.text, "memory"));
        else
            assert_int_equal(taken, strlen(answers[0]) + strlen(answers[1]));
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
