/* src/grammar/calls_rule.c, call_opening.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/calls_rule.h"
#include "grammar/gbnf.h"
#include "grammar/regex_rule.h"
#include "rule_runs.h"

/* Two tools: "lamp" with {"on": true or false, "place": a string}, "stop" without arguments. */
static const char grammar[] =
    "root ::= \"{\\\"name\\\": \\\"\" (lamp | stop)\n"
    "lamp ::= \"lamp\\\", \\\"arguments\\\": {\\\"on\\\": \" (\"true\" | \"false\") place? \"}}\"\n"
    "place ::= \", \\\"place\\\": \\\"\" ([^\"\\\\] | \"\\\\\" [\"\\\\])* \"\\\"\"\n"
    "stop ::= \"stop\\\", \\\"arguments\\\": {}}\"\n";
static const char *const names[] = {"\"stop\"", "\"lamp\""};

#define ON           "{\"name\": \"lamp\", \"arguments\": {\"on\": true}}"
#define OFF          "{\"name\": \"lamp\", \"arguments\": {\"on\": false}}"
#define IN_HALL      "{\"name\": \"lamp\", \"arguments\": {\"on\": true, \"place\": \"hall\"}}"
#define STOP         "{\"name\": \"stop\", \"arguments\": {}}"
#define TAGGED(call) "<tool_call>\n" call "\n</tool_call>"

static struct kl_rule *rule_of(const char *text)
{
    struct kl_rule *rule = NULL;
    struct kl_error err;
    if (kl_gbnf_compile(text, strlen(text), &rule, &err) != KL_OK)
        fail_msg("%s", err.text);
    return rule;
}

static struct kl_rule *calls(struct kl_calls given)
{
    struct kl_rule *rule = NULL;
    struct kl_error err;
    given.call = rule_of(grammar);
    given.names = names;
    given.n_names = 2;
    if (kl_calls_rule(&given, &rule, &err) != KL_OK)
        fail_msg("%s", err.text);
    kl_rule_disown(given.call);
    return rule;
}

static void takes(struct kl_rule *rule, const char *text)
{
    if (!rule_takes(rule, text))
        fail_msg("takes %zu bytes of %s", rule_stops_at(rule, text), text);
}

static void stops_at(struct kl_rule *rule, const char *taken, const char *refused)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s", taken, refused);
    if (rule_stops_at(rule, text) != strlen(taken))
        fail_msg("takes %zu bytes, not %zu, of %s", rule_stops_at(rule, text), strlen(taken), text);
}

static void is_free_until_a_call_begins(void **state)
{
    (void)state;
    struct kl_rule *rule = calls((struct kl_calls){0});
    static const char *const texts[] = {"",
                                        "Hello.\n\n",
                                        "a < b <tool_cal",
                                        "{\"name\": \"John\", \"arguments\": 1}",
                                        "{\"a\": \"lamp\"}",
                                        "{\"name\": \"lam",
                                        "{\"name\": \"lamps\"}",
                                        "[1, 2]",
                                        "```json\n{}\n```",
                                        "Use {\"name\": \"lamp\", 1",
                                        "```python\n{\"name\": \"lamp\", 1",
                                        "`{\"name\": \"lamp\"` x",
                                        "x ```json\n{\"name\": \"lamp\"}",
                                        "```json\nx {\"name\": \"lamp\"}",
                                        "{{\"name\": \"lamp\"}",
                                        "{\"name\": {\"name\": \"lamp\"}}",
                                        "<tool_call\n>",
                                        "</tool_call>"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        takes(rule, texts[i]);
    kl_rule_disown(rule);
}

static void rules_a_call_that_has_begun(void **state)
{
    (void)state;
    struct kl_rule *rule = calls((struct kl_calls){0});
    takes(rule, TAGGED(ON));
    takes(rule, "Well <b>.\n" TAGGED(IN_HALL));
    takes(rule, "<<tool_<tool_call>\n" STOP "\n</tool_call>");
    takes(rule, TAGGED(ON) "\n" TAGGED(OFF) "\n" TAGGED(STOP));
    takes(rule, ON);
    takes(rule, " \n" ON "\n" STOP);
    takes(rule, "{\n  \"name\" :\"lamp\", \"arguments\": {\"on\": true}}");
    takes(rule, "```json\n" ON "\n```");
    takes(rule, "Here:\n  ```json\n" ON "\n" STOP "\n```");
    takes(rule, "```\n{ \"name\": \"stop\", \"arguments\": {}}\n```");
    takes(rule, "x\n```json\n```\n" STOP "\n```");

    stops_at(rule, "<tool_call>", " ");
    stops_at(rule, "<tool_call>\n{\"name\": \"", "x");
    stops_at(rule, "<tool_call>\n{\"name\": \"lamp\", \"arguments\": {\"on\": ", "1");
    stops_at(rule, "<tool_call>\n" ON, "}");
    stops_at(rule, TAGGED(ON), " ");
    stops_at(rule, TAGGED(ON) "\n", "\n");
    stops_at(rule, "{\"name\": \"lamp\"", "}");
    stops_at(rule, "{\"name\": \"lamp\", \"arguments\": {", "}");
    stops_at(rule, ON, " ");
    stops_at(rule, ON "\n", "x");
    stops_at(rule, "```json\n" ON "\n", "\n");
    stops_at(rule, "```json\n" ON "\n```", "\n");
    assert_false(rule_takes(rule, "<tool_call>"));
    assert_false(rule_takes(rule, "<tool_call>\n" ON));
    assert_false(rule_takes(rule, "```json\n" ON "\n"));
    assert_false(rule_takes(rule, "{\"name\": \"lamp\", "));
    assert_false(rule_takes(rule, ON "\n"));
    kl_rule_disown(rule);
}

/* An object over several lines goes on so; elsewhere whitespace is that of the rule of calls. */
static void allows_the_whitespace_of_its_beginning(void **state)
{
    (void)state;
    struct kl_rule *rule = calls((struct kl_calls){0});
#define SPREAD "{\n  \"name\": \"lamp\",\n  \"arguments\": {\n    \"on\": true"
    takes(rule, SPREAD "\n  }\n}");
    takes(rule, "```json\n" SPREAD ",\n    \"place\": \"a\\\" ,  b\"\n  }\n}\n```");
    takes(rule, SPREAD "}}\n" SPREAD "}}");
    takes(rule, SPREAD ",\"place\":\"\"}}");
    takes(rule, "```json\n" SPREAD "\n  }\n}\n" SPREAD " } }\n```");
    takes(rule, SPREAD "}}\n" ON);
    stops_at(rule, "{\n  \"name\": \"lamp\",\n", "\n");
    stops_at(rule, "{\n  \"name\": \"lamp\", \"arguments\": {\n    \"on\": t", " ");
    stops_at(rule, SPREAD "\n ", "e");
    stops_at(rule, SPREAD ",\n    \"place\": \"a\" ", "\"");
    stops_at(rule, SPREAD "\n  }\n}", " ");
    stops_at(rule, "{ \"name\": \"lamp\", \"arguments\": {", "\n");
    kl_rule_disown(rule);
    const char *const excluded[] = {IN_HALL};
    rule = calls((struct kl_calls){.excluded = excluded, .n_excluded = 1});
    stops_at(rule, SPREAD ",\n    \"place\":\"hall", "\"");
    takes(rule, SPREAD ",\n    \"place\": \"halls\"\n}\n}");
    kl_rule_disown(rule);
}

/* A name may not go on behind that of a tool, if it has a sign that words do not have. */
static void ends_a_name(void **state)
{
    (void)state;
    const char *const several[] = {"\"get_it\"", "\"get_it_all\"", "\"get\""};
    struct kl_rule *rule;
    struct kl_calls given = {.call = rule_of("root ::= \"{\\\"name\\\": \\\"get\" (\"_it\" "
                                             "\"_all\"?)? \"\\\"}\""),
                             .names = several,
                             .n_names = 3};
    assert_int_equal(kl_calls_rule(&given, &rule, NULL), KL_OK);
    takes(rule, "{\"name\": \"get_it\"}");
    takes(rule, "{\"name\": \"get_it_all\"}");
    takes(rule, "{\"name\": \"getter\"}");
    takes(rule, "{\"name\": \"get_it_al");
    takes(rule, "{\"name\": \"get_it_alone\"}");
    stops_at(rule, "{\"name\": \"get_it", "s");
    stops_at(rule, "{\"name\": \"get_it_all", "_");
    kl_rule_disown(rule);
    kl_rule_disown(given.call);
}

static void demands_calls(void **state)
{
    (void)state;
    struct kl_rule *rule = calls((struct kl_calls){.is_demanded = true});
    takes(rule, TAGGED(STOP));
    takes(rule, TAGGED(STOP) "\n" TAGGED(ON));
    stops_at(rule, "", "{");
    stops_at(rule, "<tool_call>\n", "\n");
    assert_false(rule_takes(rule, ""));
    kl_rule_disown(rule);
    rule = calls((struct kl_calls){.is_demanded = true, .is_single = true});
    takes(rule, TAGGED(STOP));
    stops_at(rule, TAGGED(STOP), "\n");
    kl_rule_disown(rule);
    rule = calls((struct kl_calls){.is_demanded = true, .is_single = true, .is_bare = true});
    takes(rule, STOP);
    stops_at(rule, "", "<");
    stops_at(rule, STOP, "\n");
    assert_false(rule_takes(rule, ""));
    kl_rule_disown(rule);
}

static void allows_one_call(void **state)
{
    (void)state;
    struct kl_rule *rule = calls((struct kl_calls){.is_single = true});
    takes(rule, "x" TAGGED(STOP));
    takes(rule, "```json\n" STOP "\n```");
    takes(rule, STOP);
    stops_at(rule, TAGGED(STOP), "\n");
    stops_at(rule, "```json\n" STOP "\n", "{");
    stops_at(rule, STOP, "\n");
    kl_rule_disown(rule);
}

/* The answer is what another rule allows, or calls. */
static void follows_another_rule(void **state)
{
    (void)state;
    struct kl_rule *other = rule_of("root ::= \"{\\\"a\\\": \" [0-9]+ \"}\"");
    struct kl_rule *rule = calls((struct kl_calls){.otherwise = other});
    takes(rule, "{\"a\": 12}");
    takes(rule, TAGGED(STOP) "\n" TAGGED(ON));
    stops_at(rule, "{\"", "name");
    stops_at(rule, "<", "b");
    stops_at(rule, "", " ");
    stops_at(rule, "{\"a\": 1}", " ");
    assert_false(rule_takes(rule, ""));
    kl_rule_disown(rule);
    kl_rule_disown(other);

    struct kl_error err;
    struct kl_calls given = {.call = rule_of(grammar), .names = names, .n_names = 2};
    given.otherwise = rule_of("root ::= [a-z<]");
    assert_int_equal(kl_calls_rule(&given, &rule, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "begin with '<'"));
    kl_rule_disown(given.call);
    kl_rule_disown(given.otherwise);
}

static void excludes_calls(void **state)
{
    (void)state;
    const char *const excluded[] = {IN_HALL, STOP, "{\"name\": \"other\"}"};
    struct kl_rule *rule = calls((struct kl_calls){.excluded = excluded, .n_excluded = 3});
    takes(rule, TAGGED(ON));
    takes(rule, TAGGED(OFF) "\n" TAGGED("{\"name\": \"lamp\", \"arguments\": {\"on\": true, "
                                        "\"place\": \"halls\"}}"));
    takes(rule, "{\"name\": \"lamp\", \"arguments\": {\"on\": true, \"place\": \"hal\"}}");
    stops_at(rule,
             "<tool_call>\n{\"name\": \"lamp\", \"arguments\": {\"on\": true, \"place\": \"hall",
             "\"");
    stops_at(rule, "<tool_call>\n{\"name\": \"", "s");
    stops_at(rule, TAGGED(ON) "\n<tool_call>\n{\"name\": \"", "s");
    stops_at(rule, "{\"name\": \"stop", "\"");
    stops_at(rule, "```json\n{\"name\": \"stop", "\"");
    kl_rule_disown(rule);
}

/* Where the other way is excluded, too, the byte before is refused. */
static void excludes_all_ways(void **state)
{
    (void)state;
    struct kl_rule *call =
        rule_of("root ::= \"{\\\"name\\\": \\\"\" (\"a\" [xy] | \"b\") \"\\\"}\"");
    const char *const excluded[] = {"{\"name\": \"ax\"}", "{\"name\": \"ay\"}",
                                    "{\"name\": \"b\"}"};
    const char *const both[] = {"\"ax\"", "\"ay\"", "\"b\""};
    struct kl_calls given = {.call = call, .names = both, .n_names = 3, .excluded = excluded};
    struct kl_rule *rule;
    given.n_excluded = 2;
    assert_int_equal(kl_calls_rule(&given, &rule, NULL), KL_OK);
    stops_at(rule, "<tool_call>\n{\"name\": \"", "a");
    takes(rule, TAGGED("{\"name\": \"b\"}"));
    kl_rule_disown(rule);

    given.n_excluded = 3; /* there are none left */
    assert_int_equal(kl_calls_rule(&given, &rule, NULL), KL_OK);
    takes(rule, "text <tool_call");
    stops_at(rule, "text <tool_call", ">");
    stops_at(rule, "{\"name\": \"b", "\"");
    kl_rule_disown(rule);

    given.is_demanded = true; /* one is demanded all the same */
    assert_int_equal(kl_calls_rule(&given, &rule, NULL), KL_OK);
    takes(rule, TAGGED("{\"name\": \"ax\"}"));
    kl_rule_disown(rule);
    kl_rule_disown(call);
}

static void forgets_trials(void **state)
{
    (void)state;
    struct kl_rule *other = rule_of("root ::= \"{\\\"a\\\": \" [0-9]+ \"}\"");
    struct kl_rule *rule = calls((struct kl_calls){.otherwise = other});
    struct kl_machine *machine;
    struct kl_rule_state begin, trial;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    const struct kl_machine_kind *kind = machine->kind;
    kind->begin(machine, &begin);
    size_t bytes = 0, mark = kind->mark(machine);
    for (int round = 0; round < 1000; round++) {
        static const char *const texts[] = {TAGGED(IN_HALL) "\n" TAGGED(OFF), "{\"a\": 123}"};
        for (int i = 0; i < 2; i++) {
            trial = begin;
            for (const char *c = texts[i]; *c != '\0'; c++)
                assert_true(kind->step(machine, &trial, (uint8_t)*c, &trial));
        }
        kind->release(machine, mark);
        assert_int_equal(kind->mark(machine), mark);
        if (round == 0)
            bytes = kind->bytes(machine);
    }
    assert_int_equal(kind->bytes(machine), bytes);
    kind->close(machine);
    kl_rule_disown(rule);
    kl_rule_disown(other);
}

static void refuses_by_name(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_rule *rule;
    static char long_name[KL_CALLS_MAX_NAME + 2];
    const char *const longs[] = {long_name};
    const char *many[KL_CALLS_MAX_NAMES + 1];
    struct kl_calls given = {.call = rule_of(grammar)};
    memset(long_name, 'x', sizeof long_name - 1);
    assert_int_equal(kl_calls_rule(&given, &rule, &err), KL_ERR_INVALID);
    given.names = longs;
    given.n_names = 1;
    assert_int_equal(kl_calls_rule(&given, &rule, &err), KL_ERR_LIMIT);
    for (size_t i = 0; i <= KL_CALLS_MAX_NAMES; i++)
        many[i] = "\"x\"";
    given.names = many;
    given.n_names = KL_CALLS_MAX_NAMES + 1;
    assert_int_equal(kl_calls_rule(&given, &rule, &err), KL_ERR_LIMIT);
    kl_rule_disown(given.call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_free_until_a_call_begins),
        cmocka_unit_test(rules_a_call_that_has_begun),
        cmocka_unit_test(allows_the_whitespace_of_its_beginning),
        cmocka_unit_test(ends_a_name),
        cmocka_unit_test(demands_calls),
        cmocka_unit_test(allows_one_call),
        cmocka_unit_test(follows_another_rule),
        cmocka_unit_test(excludes_calls),
        cmocka_unit_test(excludes_all_ways),
        cmocka_unit_test(forgets_trials),
        cmocka_unit_test(refuses_by_name),
    };
    return cmocka_run_group_tests_name("grammar/calls_rule", tests, NULL, NULL);
}
