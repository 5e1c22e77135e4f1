#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "grammar/regex_rule.h"
#include "grammar/wrapped_rule.h"

enum reading { REFUSED, BEGINS, WHOLE };

static enum reading read_text(struct kl_rule *rule, const char *text)
{
    struct kl_machine *machine;
    struct kl_rule_state state;
    struct kl_error err;
    assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
    machine->kind->begin(machine, &state);
    enum reading reading = BEGINS;
    for (; *text != '\0' && reading == BEGINS; text++) {
        if (!machine->kind->step(machine, &state, (uint8_t)*text, &state))
            reading = REFUSED;
    }
    if (reading == BEGINS && machine->kind->is_complete(machine, &state))
        reading = WHOLE;
    assert_int_equal(machine->failure.status, KL_OK);
    assert_true(machine->kind->bytes(machine) > 0);
    machine->kind->close(machine);
    return reading;
}

static struct kl_rule *regex_of(const char *pattern)
{
    struct kl_rule *rule;
    struct kl_error err;
    assert_int_equal(kl_regex_rule(pattern, strlen(pattern), &rule, &err), KL_OK);
    return rule;
}

static void test_wrapped(void **state)
{
    (void)state;
    struct kl_rule *rule, *inner = regex_of("[a-c]{1,3}");
    struct kl_error err;
    assert_int_equal(kl_wrapped_rule("<x>", inner, "\n</x>", &rule, &err), KL_OK);
    assert_int_equal(read_text(rule, "<x>ab\n</x>"), WHOLE);
    assert_int_equal(read_text(rule, "<x>abc\n</x>"), WHOLE);
    static const char *const begin[] = {"", "<", "<x>", "<x>a", "<x>abc", "<x>a\n", "<x>a\n</x"};
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(read_text(rule, begin[i]), BEGINS);
    static const char *const other[] = {"a", "<y", "<x>\n", "<x>abcc", "<x>a\n</x>\n", "<x>a\n</y"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(read_text(rule, other[i]), REFUSED);
    kl_rule_disown(rule);

    assert_int_equal(kl_wrapped_rule("", regex_of("[a-c]"), "", &rule, &err), KL_OK);
    assert_int_equal(read_text(rule, "b"), WHOLE);
    assert_int_equal(read_text(rule, ""), BEGINS);
    assert_int_equal(read_text(rule, "bb"), REFUSED);
    kl_rule_disown(rule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
