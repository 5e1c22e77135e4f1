/* src/grammar/triggers.c, trigger_search.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/gbnf.h"
#include "grammar/regex_rule.h"
#include "grammar/trigger_search.h"
#include "grammar/triggers.h"
#include "rule_runs.h"

static struct kl_rule *grammar(const char *text)
{
    struct kl_rule *rule = NULL;
    struct kl_error err;
    if (kl_gbnf_compile(text, strlen(text), &rule, &err) != KL_OK)
        fail_msg("%s", err.text);
    return rule;
}

static const char object[] = "root ::= \"{\" (pair (\", \" pair)*)? \"}\"\n"
                             "pair ::= \"\\\"\" [^\"]* \"\\\": \" ([0-9]+ | root)\n";

/* The rule of these triggers, which gives the caller's shares of their rules up. */
static struct kl_rule *triggers(struct kl_trigger *list, size_t n)
{
    struct kl_rule *rule = NULL;
    struct kl_error err;
    if (kl_triggers_rule(list, n, &rule, &err) != KL_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++) {
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again = again || list[k].rule == list[i].rule;
        if (!again)
            kl_rule_disown(list[i].rule);
    }
    return rule;
}

/* Tool calls, a bare object at the start, and a fence. */
static struct kl_rule *usual_triggers(void)
{
    struct kl_rule *rule = grammar(object);
    struct kl_trigger list[] = {{"<tool_call>\n", false, rule, "\n</tool_call>", false},
                                {"{", true, rule, "", true},
                                {"```json\n", false, rule, "\n```", false}};
    return triggers(list, 3);
}

static void is_free_until_a_trigger(void **state)
{
    (void)state;
    struct kl_rule *rule = usual_triggers();
    assert_true(rule_takes(rule, ""));
    assert_true(rule_takes(rule, "any { text } \xFF < <tool <tool_call> ```json ```"));
    assert_true(rule_takes(rule, "Well: <tool_call>\n{\"a\": 1}\n</tool_call>, and "
                                 "<tool_call>\n{}\n</tool_call>{"));
    assert_false(rule_takes(rule, "<tool_call>\n{}"));
    assert_false(rule_takes(rule, "<tool_call>\n{}\n"));
    assert_int_equal(rule_stops_at(rule, "<tool_call>\n{a"), 13);
    assert_int_equal(rule_stops_at(rule, "<tool_call>\n {"), 12);
    assert_int_equal(rule_stops_at(rule, "<<tool_call>\n<"), 13);
    assert_int_equal(rule_stops_at(rule, "<tool_call>\n{} </tool_call>"), 14);
    assert_int_equal(rule_stops_at(rule, "<tool_call>\n{}\n</tool_cell>"), 23);
    kl_rule_disown(rule);
}

static void begins_with_an_object(void **state)
{
    (void)state;
    struct kl_rule *rule = usual_triggers();
    assert_true(rule_takes(rule, "{\"a\": {}}"));
    assert_true(
        rule_takes(rule, " \n\t{\"a\": 1} and free again {x <tool_call>\n{}\n</tool_call>"));
    assert_false(rule_takes(rule, "{\"a\": 1"));
    assert_int_equal(rule_stops_at(rule, "\n{a"), 2);
    assert_true(rule_takes(rule, "x {a"));
    assert_true(rule_takes(rule, "{}{a"));
    kl_rule_disown(rule);
}

static void closes_fences(void **state)
{
    (void)state;
    struct kl_rule *rule = usual_triggers();
    assert_true(rule_takes(rule, "```json\n{}\n```\n\n```python\n{x\n```"));
    assert_false(rule_takes(rule, "```json\n{}\n``"));
    assert_int_equal(rule_stops_at(rule, "```json\n{}\n``\n"), 13);
    assert_int_equal(rule_stops_at(rule, "````json\n["), 9);
    kl_rule_disown(rule);
}

/* Digits may go on where the end text, which begins with a digit, has begun. */
static void follows_the_rule_and_the_end_text_at_once(void **state)
{
    (void)state;
    struct kl_trigger list[] = {{"#", false, grammar("root ::= [0-9]+"), "00;", false},
                                {"@", false, grammar("root ::= [a-z]*"), "", false}};
    struct kl_rule *rule = triggers(list, 2);
    assert_true(rule_takes(rule, "#100;x"));
    assert_true(rule_takes(rule, "#1001200;x"));
    assert_true(rule_takes(rule, "#10100;"));
    assert_false(rule_takes(rule, "#100"));
    assert_int_equal(rule_stops_at(rule, "#00;"), 3); /* digits must come first */
    assert_int_equal(rule_stops_at(rule, "#10;"), 3);
    assert_true(rule_takes(rule, "@abc"));
    assert_true(rule_takes(rule, "@ABC@#1200;"));
    assert_int_equal(rule_stops_at(rule, "@@#x"), 3);
    kl_rule_disown(rule);
}

static void prefers_the_longest_that_ends(void **state)
{
    (void)state;
    struct kl_trigger list[] = {{"b", false, grammar("root ::= \"1\""), "", false},
                                {"ab", false, grammar("root ::= \"2\""), "", false},
                                {"cab", true, grammar("root ::= \"3\""), "", false},
                                {"cabd", true, grammar("root ::= \"4\""), "", false}};
    struct kl_rule *rule = triggers(list, 4);
    assert_int_equal(rule_stops_at(rule, "b2"), 1);
    assert_int_equal(rule_stops_at(rule, "b1"), 2);
    assert_int_equal(rule_stops_at(rule, "ab1"), 2);
    assert_int_equal(rule_stops_at(rule, "xcab2"), 5);
    assert_int_equal(rule_stops_at(rule, "cab2"), 3);
    assert_int_equal(rule_stops_at(rule, " cab3"), 5);
    assert_int_equal(rule_stops_at(rule, "cabd"), 3);
    assert_int_equal(rule_stops_at(rule, "ccab2"), 5);
    kl_rule_disown(rule);
}

static void forgets_trials_of_all_parts(void **state)
{
    (void)state;
    struct kl_rule *rule = usual_triggers();
    struct kl_machine *machine;
    struct kl_rule_state now, trial, other;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    const struct kl_machine_kind *kind = machine->kind;
    kind->begin(machine, &now);
    for (const char *c = "text <tool_call>\n{\"a\": {"; *c != '\0'; c++)
        assert_true(kind->step(machine, &now, (uint8_t)*c, &now));
    size_t bytes = kind->bytes(machine), mark = kind->mark(machine);
    for (int round = 0; round < 10000; round++) {
        trial = now;
        for (const char *c = "\"b\": {\"c\": {}}}}\n</tool_call>```json\n{\"é\": 1"; *c != '\0';
             c++)
            assert_true(kind->step(machine, &trial, (uint8_t)*c, &trial));
        assert_true(kind->mark(machine) != mark);
        kind->release(machine, mark);
        assert_int_equal(kind->mark(machine), mark);
    }
    assert_true(kind->bytes(machine) <= bytes + 65536);
    for (const char *c = "}}\n</tool_call>"; *c != '\0'; c++)
        assert_true(kind->step(machine, &now, (uint8_t)*c, &now));
    other = now;
    assert_true(kind->step(machine, &now, 'x', &now));
    assert_memory_equal(&now, &other, sizeof now); /* free text has few states */
    kind->close(machine);
    kl_rule_disown(rule);
}

static void refuses_by_name(void **state)
{
    (void)state;
    struct kl_rule *rule = grammar("root ::= \"{}\""), *made, *nested;
    struct kl_error err = {0};
    struct kl_trigger good = {"{", true, rule, "", true}, bad;
    assert_int_equal(kl_triggers_rule(&good, 0, &made, &err), KL_ERR_INVALID);
    assert_int_equal(kl_triggers_rule((struct kl_trigger[]){good, good}, 2, &made, &err),
                     KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "found it twice"));
    bad = good;
    bad.begin = "";
    assert_int_equal(kl_triggers_rule(&bad, 1, &made, &err), KL_ERR_INVALID);
    bad.begin = "\n{";
    assert_int_equal(kl_triggers_rule(&bad, 1, &made, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "expected no whitespace first"));
    bad.begin = "[";
    assert_int_equal(kl_triggers_rule(&bad, 1, &made, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "trigger '[': expected its rule to begin with it"));
    char *text = calloc(1, KL_TRIGGERS_MAX_BYTES + 2);
    memset(text, 'a', KL_TRIGGERS_MAX_BYTES + 1);
    bad = (struct kl_trigger){text, false, rule, "", false};
    assert_int_equal(kl_triggers_rule(&bad, 1, &made, &err), KL_ERR_LIMIT);
    free(text);
    struct kl_trigger many[KL_TRIGGERS_MAX + 1];
    for (int i = 0; i <= KL_TRIGGERS_MAX; i++)
        many[i] = good;
    assert_int_equal(kl_triggers_rule(many, KL_TRIGGERS_MAX + 1, &made, &err), KL_ERR_LIMIT);
    assert_int_equal(kl_triggers_rule(&good, 1, &nested, &err), KL_OK);
    bad = (struct kl_trigger){"x", false, nested, "", false};
    assert_int_equal(kl_triggers_rule(&bad, 1, &made, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "its rule has triggers itself"));
    kl_rule_disown(nested);
    assert_int_equal(atomic_load(&rule->owners), 1);
    kl_rule_disown(rule);
}

/* Random texts of two letters are found where they are. */
static void finds_what_comparing_finds(void **state)
{
    (void)state;
    uint32_t random = 3;
    for (int round = 0; round < 3000; round++) {
        char texts[4][6];
        struct kl_trigger_text list[4];
        size_t n = 1 + (size_t)round % 4;
        for (size_t i = 0; i < n; i++) {
            size_t len = 0;
            do
                texts[i][len++] = "ab "[((random = random * 1664525 + 1013904223) >> 28) % 3];
            while (len < 5 && random >> 30 != 0);
            texts[i][len] = '\0';
            list[i] = (struct kl_trigger_text){texts[i], texts[i][0] != ' ' && (random >> 10 & 1)};
            for (size_t k = 0; k < i; k++)
                if (strcmp(texts[k], texts[i]) == 0)
                    n = i; /* each once */
        }
        if (n == 0)
            continue;
        struct kl_trigger_search search;
        assert_int_equal(kl_trigger_search_make(&search, list, n, NULL), KL_OK);
        uint32_t now = kl_trigger_search_start(&search);
        char text[21] = "";
        for (size_t len = 1; len <= 20; len++) {
            text[len - 1] = "ab "[((random = random * 1664525 + 1013904223) >> 28) % 3];
            int found, expected = KL_TRIGGER_NONE;
            now = kl_trigger_search_step(&search, now, (uint8_t)text[len - 1], &found);
            for (size_t i = 0; i < n; i++) {
                size_t own = strlen(texts[i]);
                bool ends = own <= len && memcmp(text + len - own, texts[i], own) == 0;
                bool first = own <= len && strspn(text, " ") >= len - own;
                if (!ends || (list[i].only_first && !first))
                    continue;
                if (expected == KL_TRIGGER_NONE || list[i].only_first ||
                    (!list[expected].only_first && own > strlen(texts[expected])))
                    expected = (int)i;
            }
            if (expected != found)
                fail_msg("'%s': %d instead of %d", text, found, expected);
        }
        kl_trigger_search_free(&search);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_free_until_a_trigger),
        cmocka_unit_test(begins_with_an_object),
        cmocka_unit_test(closes_fences),
        cmocka_unit_test(follows_the_rule_and_the_end_text_at_once),
        cmocka_unit_test(prefers_the_longest_that_ends),
        cmocka_unit_test(forgets_trials_of_all_parts),
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(finds_what_comparing_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
