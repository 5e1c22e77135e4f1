#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "grammar/choice_rule.h"
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

static struct kl_rule *choice_of(const char *const *texts, size_t n)
{
    struct kl_choice_text list[8];
    struct kl_rule *rule;
    struct kl_error err;
    for (size_t i = 0; i < n; i++)
        list[i] = (struct kl_choice_text){texts[i], strlen(texts[i])};
    assert_int_equal(kl_choice_rule(list, n, &rule, &err), KL_OK);
    return rule;
}

static void test_choice(void **state)
{
    (void)state;
    static const char *const texts[] = {"yes", "no", "not at all", "né", "no", "yesterday"};
    struct kl_rule *rule = choice_of(texts, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(read_text(rule, texts[i]), WHOLE);
    static const char *const begin[] = {"", "y", "ye", "n", "not", "not at al", "n\xC3", "yester"};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(read_text(rule, begin[i]), BEGINS);
    static const char *const other[] = {"x", "yeS", "noo", "n\xC3\xA8", "yesterdays", "No"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(read_text(rule, other[i]), REFUSED);
    kl_rule_disown(rule);

    static const char *const empty[] = {"", "a"};
    rule = choice_of(empty, 2);
    assert_int_equal(read_text(rule, ""), WHOLE);
    assert_int_equal(read_text(rule, "a"), WHOLE);
    kl_rule_disown(rule);

    struct kl_error err;
    assert_int_equal(kl_choice_rule(NULL, 0, &rule, &err), KL_ERR_INVALID);
    static char large[(4 << 20) + 1];
    struct kl_choice_text text = {large, sizeof large};
    assert_int_equal(kl_choice_rule(&text, 1, &rule, &err), KL_ERR_LIMIT);
}

static struct kl_rule *regex_of(const char *pattern)
{
    struct kl_rule *rule;
    struct kl_error err;
    assert_int_equal(kl_regex_rule(pattern, strlen(pattern), &rule, &err), KL_OK);
    return rule;
}

static void test_regex(void **state)
{
    (void)state;
    struct kl_rule *rule = regex_of("(\\d{3}-){2}\\d{4}|none");
    assert_int_equal(read_text(rule, "555-123-4567"), WHOLE);
    assert_int_equal(read_text(rule, "none"), WHOLE);
    assert_int_equal(read_text(rule, "555-12"), BEGINS);
    assert_int_equal(read_text(rule, "x555-123-4567"), REFUSED); /* the whole answer */
    assert_int_equal(read_text(rule, "none "), REFUSED);
    kl_rule_disown(rule);
    struct kl_error err;
    assert_int_equal(kl_regex_rule("(", 1, &rule, &err), KL_ERR_INVALID);
    assert_int_equal(kl_regex_rule("[^\\s\\S]", 8, &rule, &err), KL_ERR_INVALID);
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
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_regex),
        cmocka_unit_test(test_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
