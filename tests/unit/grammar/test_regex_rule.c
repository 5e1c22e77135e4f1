/* src/grammar/regex_rule.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/regex_rule.h"
#include "rule_runs.h"

static struct kl_rule *regex(const char *pattern)
{
    struct kl_rule *rule = NULL;
    struct kl_error err;
    if (kl_regex_rule(pattern, strlen(pattern), &rule, &err) != KL_OK)
        fail_msg("%s", err.text);
    return rule;
}

static void matches_the_whole_answer(void **state)
{
    (void)state;
    struct kl_rule *rule = regex("(\\d{3}-)?\\d{4}|none|é+");
    assert_true(rule_takes(rule, "555-0123"));
    assert_true(rule_takes(rule, "0123"));
    assert_true(rule_takes(rule, "none"));
    assert_true(rule_takes(rule, "éé"));
    assert_false(rule_takes(rule, "012"));
    assert_false(rule_takes(rule, ""));
    assert_int_equal(rule_stops_at(rule, "01234"), 4);
    assert_int_equal(rule_stops_at(rule, " 0123"), 0);
    assert_int_equal(rule_stops_at(rule, "no 0123"), 2);
    assert_int_equal(rule_stops_at(rule, "é\xC3\xAA"), 3);
    assert_true(rule->n_states > 0 && rule->bytes > 0);
    kl_rule_disown(rule);
}

static void refuses_patterns(void **state)
{
    (void)state;
    struct kl_rule *rule;
    struct kl_error err = {0};
    assert_int_equal(kl_regex_rule("a(", 2, &rule, &err), KL_ERR_INVALID);
    assert_int_equal(kl_regex_rule("(a)\\1", 5, &rule, &err), KL_ERR_UNSUPPORTED);
    assert_int_equal(kl_regex_rule("(ab?){9999999}", 14, &rule, &err), KL_ERR_LIMIT);
    assert_int_equal(kl_regex_rule("[]", 2, &rule, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "found one that nothing matches"));
}

/* The automaton of this pattern has 2^40 states; those of one answer are few. */
static void runs_hostile_patterns_within_bounds(void **state)
{
    (void)state;
    struct kl_rule *rule = regex("(a|b)*a(a|b){40}");
    struct kl_machine *machine;
    struct kl_rule_state now;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    machine->kind->begin(machine, &now);
    uint32_t random = 1;
    size_t taken = 0;
    while (taken < 10000000 && machine->kind->step(machine, &now, random >> 31 ? 'a' : 'b', &now)) {
        random = random * 1664525 + 1013904223;
        taken++;
    }
    assert_true(taken > 1000);
    assert_int_equal(machine->failure.status, KL_ERR_LIMIT);
    assert_non_null(strstr(machine->failure.text, "regex: its automaton needs too many states"));
    assert_true(machine->kind->bytes(machine) < 32 << 20);
    machine->kind->close(machine);
    kl_rule_disown(rule);
}

/* Sets of thousands of threads: a mask that tries all bytes in all states ends soon, by name. Each
 * step alone, with a mask in between, goes on. */
static void bounds_the_work_of_a_mask(void **state)
{
    (void)state;
    enum { N_OPTIONAL = 300 };
    char pattern[2 * N_OPTIONAL + 2];
    size_t len = 0;
    for (size_t i = 0; i < N_OPTIONAL; i++, len += 2)
        memcpy(pattern + len, ".?", 2);
    memcpy(pattern + len, "z", 2);
    struct kl_rule *rule = regex(pattern);
    struct kl_machine *machine;
    struct kl_rule_state now, start;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    machine->kind->begin(machine, &start);
    now = start;
    for (size_t i = 0; i < 100; i++) {
        size_t mark = machine->kind->mark(machine);
        assert_true(machine->kind->step(machine, &now, 'a', &now));
        machine->kind->release(machine, mark);
    }
    now = start;
    size_t taken = 0;
    while (taken < 250 && machine->kind->step(machine, &now, taken % 2 ? 'a' : 'b', &now))
        taken++;
    assert_true(taken < 250);
    assert_int_equal(machine->failure.status, KL_ERR_LIMIT);
    assert_non_null(strstr(machine->failure.text, "too many steps for one mask"));
    machine->kind->close(machine);
    kl_rule_disown(rule);
}

static void takes_one_of_the_strings(void **state)
{
    (void)state;
    const char *strings[] = {"yes", "no", "none", "n", "é", "no", "nothing at all"};
    struct kl_rule *rule = NULL;
    assert_int_equal(kl_choice_rule(strings, 7, &rule, NULL), KL_OK);
    for (size_t i = 0; i < 7; i++)
        assert_true(rule_takes(rule, strings[i]));
    assert_false(rule_takes(rule, ""));
    assert_false(rule_takes(rule, "not"));
    assert_false(rule_takes(rule, "ye"));
    assert_int_equal(rule_stops_at(rule, "yess"), 3);
    assert_int_equal(rule_stops_at(rule, "nonx"), 3);
    assert_int_equal(rule_stops_at(rule, "x"), 0);
    assert_int_equal(rule_stops_at(rule, "\xC3\xAA"), 1);
    kl_rule_disown(rule);

    assert_int_equal(kl_choice_rule((const char *[]){""}, 1, &rule, NULL), KL_OK);
    assert_true(rule_takes(rule, ""));
    assert_int_equal(rule_stops_at(rule, "a"), 0);
    kl_rule_disown(rule);
}

static void takes_no_byte_0(void **state)
{
    (void)state;
    struct kl_rule *rule = NULL;
    struct kl_machine *machine;
    struct kl_rule_state now;
    assert_int_equal(kl_choice_rule((const char *[]){"a", "ab"}, 2, &rule, NULL), KL_OK);
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    machine->kind->begin(machine, &now);
    assert_true(machine->kind->step(machine, &now, 'a', &now));
    assert_false(machine->kind->step(machine, &now, 0, &now));
    assert_true(machine->kind->is_complete(machine, &now));
    machine->kind->close(machine);
    kl_rule_disown(rule);
}

static void refuses_choices(void **state)
{
    (void)state;
    struct kl_rule *rule;
    struct kl_error err = {0};
    assert_int_equal(kl_choice_rule(NULL, 0, &rule, &err), KL_ERR_INVALID);
    const char **strings = malloc((KL_CHOICE_MAX_STRINGS + 1) * sizeof *strings);
    for (size_t i = 0; i <= KL_CHOICE_MAX_STRINGS; i++)
        strings[i] = "a longer text";
    assert_int_equal(kl_choice_rule(strings, KL_CHOICE_MAX_STRINGS + 1, &rule, &err), KL_ERR_LIMIT);
    assert_int_equal(kl_choice_rule(strings, KL_CHOICE_MAX_STRINGS, &rule, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "1048576 bytes"));
    free(strings);
}

/* Random strings of few letters: what may follow each beginning, against all strings. */
static void agrees_with_comparing_all_strings(void **state)
{
    (void)state;
    uint32_t random = 7;
    for (int round = 0; round < 300; round++) {
        char texts[20][6];
        const char *strings[20];
        for (int i = 0; i < 20; i++) {
            int len = 0;
            for (; len < 5 && (random = random * 1664525 + 1013904223) >> 29 != 0; len++)
                texts[i][len] = (char)('a' + (random >> 20) % 3);
            texts[i][len] = '\0';
            strings[i] = texts[i];
        }
        struct kl_rule *rule = NULL;
        assert_int_equal(kl_choice_rule(strings, 20, &rule, NULL), KL_OK);
        for (int i = 0; i < 243; i++) {
            char text[6] = {(char)('a' + i % 3), (char)('a' + i / 3 % 3), (char)('a' + i / 9 % 3),
                            (char)('a' + i / 27 % 3), (char)('a' + i / 81)};
            size_t longest = 0;
            bool whole = false;
            for (int k = 0; k < 20; k++) {
                size_t same = 0;
                while (same < 5 && text[same] == strings[k][same])
                    same++;
                longest = same > longest ? same : longest;
                whole = whole || strcmp(text, strings[k]) == 0;
            }
            assert_int_equal(rule_stops_at(rule, text), longest);
            assert_int_equal(rule_takes(rule, text), whole);
        }
        kl_rule_disown(rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_whole_answer),
        cmocka_unit_test(refuses_patterns),
        cmocka_unit_test(runs_hostile_patterns_within_bounds),
        cmocka_unit_test(bounds_the_work_of_a_mask),
        cmocka_unit_test(takes_one_of_the_strings),
        cmocka_unit_test(takes_no_byte_0),
        cmocka_unit_test(refuses_choices),
        cmocka_unit_test(agrees_with_comparing_all_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
