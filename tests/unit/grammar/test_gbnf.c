/* src/grammar/gbnf.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/gbnf.h"
#include "rule_runs.h"

static struct kl_rule *compile(const char *text)
{
    struct kl_rule *rule;
    struct kl_error err;
    enum kl_status status = kl_gbnf_compile(text, strlen(text), &rule, &err);
    if (status != KL_OK)
        fail_msg("%s", err.text);
    return rule;
}

static bool takes(const char *grammar, const char *text)
{
    struct kl_rule *rule = compile(grammar);
    bool taken = rule_takes(rule, text);
    kl_rule_disown(rule);
    return taken;
}

static size_t stops_at(const char *grammar, const char *text)
{
    struct kl_rule *rule = compile(grammar);
    size_t n = rule_stops_at(rule, text);
    kl_rule_disown(rule);
    return n;
}

static void takes_texts_classes_and_groups(void **state)
{
    (void)state;
    const char *grammar =
        "root ::= \"a\\n\\t\\x41\\u00e9\\U0001F600\\\\\\\"\" [a-c\\]\\-x-] (b | \"\") # end\n"
        "b ::= [^a-z\\n]\n";
    assert_true(takes(grammar, "a\n\tAé😀\\\"b"));
    assert_true(takes(grammar, "a\n\tAé😀\\\"-"));
    assert_true(takes(grammar, "a\n\tAé😀\\\"]é"));
    assert_false(takes(grammar, "a\n\tAé😀\\\"dé"));
    assert_false(takes(grammar, "a\n\tAé😀\\\"bb"));
    assert_int_equal(stops_at(grammar, "a\n\tAé😀\\\"x\n"), 13);
    assert_int_equal(stops_at("root ::= \"é\"", "\xC3\xAA"), 1);
    assert_int_equal(stops_at("root ::= .", "\n"), 1);
    assert_int_equal(stops_at("root ::= .*", "a\xED\xA0\x80"), 2); /* a surrogate */
    assert_int_equal(stops_at("root ::= .*", "\xC0\x80"), 0);
    assert_int_equal(stops_at("root ::= .*", "\xE0\x9F\xBF"), 1);
    assert_int_equal(stops_at("root ::= .*", "\xF4\x90\x80\x80"), 1);
    assert_true(takes("root ::= [ぁ-ゟ]+", "ひらがな"));
    assert_false(takes("root ::= [ぁ-ゟ]+", "ひらガな"));
}

static void takes_repetitions(void **state)
{
    (void)state;
    static const struct {
        const char *grammar;
        size_t least, most;
    } cases[] = {{"a*", 0, 20},
                 {"a+", 1, 20},
                 {"a?", 0, 1},
                 {"a{3}", 3, 3},
                 {"a{3,}", 3, 20},
                 {"a{2,5}", 2, 5},
                 {"a{0,2}", 0, 2},
                 {"a{0}", 0, 0},
                 {"a { 2 , 5 }", 2, 5},
                 {"(\"a\" \"\"){2,5}", 2, 5},
                 {"((a)?){3}", 0, 3},
                 {"(a | \"\")*", 0, 20},
                 {"(a{2}){3}", 6, 6},
                 {"(a*)*", 0, 20},
                 {"(a+)+", 1, 20},
                 {"a??", 0, 1},
                 {"\"\"{1000000000}", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char grammar[100], text[21] = "aaaaaaaaaaaaaaaaaaaa";
        snprintf(grammar, sizeof grammar, "root ::= %s\na ::= \"a\"", cases[i].grammar);
        for (size_t n = 0; n <= 20; n++)
            if (takes(grammar, text + 20 - n) != (n >= cases[i].least && n <= cases[i].most))
                fail_msg("%s and %zu", cases[i].grammar, n);
    }
}

/* Grammars of the kinds that llama.cpp's examples are. */
static const char json_grammar[] =
    "root   ::= object\n"
    "value  ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
    "object ::=\n  \"{\" ws (\n    string \":\" ws value\n    (\",\" ws string \":\" ws value)*\n  "
    ")? "
    "\"}\" ws\n"
    "array  ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" "
    "[0-9a-fA-F]{4}) )* \"\\\"\" ws\n"
    "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9]+)? ws\n"
    "ws     ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

static void takes_json(void **state)
{
    (void)state;
    assert_true(takes(json_grammar, "{\"a\": [1, -2.5e+3, \"é\\n\\u00e9\"], \"b\":\n  {}}"));
    assert_true(takes(json_grammar, "{}"));
    assert_false(takes(json_grammar, "{\"a\": 1"));
    assert_false(takes(json_grammar, "[1]"));
    assert_int_equal(stops_at(json_grammar, "{\"a\": 01}"), 7);
    assert_int_equal(stops_at(json_grammar, "{\"a\\x\"}"), 4);
    assert_int_equal(stops_at(json_grammar, "{\"a\": tru3}"), 9);
}

static void takes_other_examples(void **state)
{
    (void)state;
    const char *arithmetic = "root  ::= (expr \"=\" ws num \"\\n\")+\n"
                             "expr  ::= term ([-+*/] ws term)*\n"
                             "term  ::= ident | num | \"(\" ws expr \")\" ws\n"
                             "ident ::= [a-z] [a-z0-9_]* ws\n"
                             "num   ::= [0-9]+ ws\n"
                             "ws    ::= [ \\t\\n]*";
    assert_true(takes(arithmetic, "(a + 1) * 2=3\nx=4\n"));
    assert_false(takes(arithmetic, "(a + 1 * 2=3\n"));

    const char *list =
        "# a list\r\nroot ::= item+\r\n\r\nitem ::= \"- \" [^\\r\\n\\x0b\\x85\\u2028]+ \"\\n\"";
    assert_true(takes(list, "- one\n- zwei €\n"));
    assert_false(takes(list, "- one\n-two\n"));

    const char *chess =
        "root   ::= \"1. \" move \" \" move \"\\n\" ([1-9] [0-9]? \". \" move \" \" "
        "move \"\\n\")+\n"
        "move   ::= (pawn | piece | castle) [+#]?\n"
        "piece  ::= [NBKQR] [a-h]? [1-8]? \"x\"? [a-h] [1-8]\n"
        "pawn   ::= ([a-h] \"x\")? [a-h] [1-8] (\"=\" [NBKQR])?\n"
        "castle ::= \"O-O\" \"-O\"?";
    assert_true(takes(chess, "1. e4 e5\n2. Nf3 Nc6\n3. O-O exd4+\n"));
    assert_false(takes(chess, "1. e4 e9\n"));
}

static void leaves_out_what_cannot_end(void **state)
{
    (void)state;
    const char *grammar = "root ::= \"a\" | \"b\" loop | (\"c\" none)? | \"d\" (none | \"e\")\n"
                          "loop ::= \"x\" loop\n"
                          "none ::= [^\\x00-\\U0010FFFF]\n"
                          "unused ::= unused \"left recursive, but never reached\"";
    assert_true(takes(grammar, "a"));
    assert_true(takes(grammar, ""));
    assert_true(takes(grammar, "de"));
    assert_int_equal(stops_at(grammar, "bx"), 0);
    assert_int_equal(stops_at(grammar, "c"), 0);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *grammar;
        enum kl_status status;
        const char *text;
    } cases[] = {
        {"", KL_ERR_INVALID, "expected a rule 'root'"},
        {"a ::= \"b\"", KL_ERR_INVALID, "found none among 1 rules"},
        {"root := \"b\"", KL_ERR_INVALID,
         "line 1, column 6: expected '::=' after the name of a rule, found ':'"},
        {"root ::= b", KL_ERR_INVALID, "line 1, column 10: the rule 'b' is used, but not defined"},
        {"# é\nroot ::= \"é\" ]", KL_ERR_INVALID,
         "line 2, column 14: expected an item, '|' or the end of the line, found ']'"},
        {"root ::= \"a\"\n  | \"b\"", KL_ERR_INVALID, "put '|' at the end of the line before"},
        {"root ::= \"a\nb\"", KL_ERR_INVALID, "column 12: expected the end of the text or class"},
        {"root ::= [a", KL_ERR_INVALID, "found the end of the grammar"},
        {"root ::= (\"a\"", KL_ERR_INVALID, "column 10: expected a ')' that belongs to this '('"},
        {"root ::= \"a\")", KL_ERR_INVALID, "found ')'"},
        {"root ::= * \"a\"", KL_ERR_INVALID, "expected an item before the operator, found '*'"},
        {"root ::= \"a\"{x}", KL_ERR_INVALID, "expected a number of repetitions, found 'x'"},
        {"root ::= \"a\"{,2}", KL_ERR_INVALID, "expected a number of repetitions, found ','"},
        {"root ::= \"a\"{2", KL_ERR_INVALID, "expected '}' or ',', found the end of the grammar"},
        {"root ::= \"a\"{3,2}", KL_ERR_INVALID, "column 14: expected at least as many"},
        {"root ::= \"a\"{9999999999}", KL_ERR_INVALID, "fewer than 1000000000 repetitions"},
        {"root ::= [z-a]", KL_ERR_INVALID, "from U+007A to U+0061"},
        {"root ::= []", KL_ERR_INVALID, "expected a character or a range in the class"},
        {"root ::= \"\\q\"", KL_ERR_INVALID, "column 12: expected an escape"},
        {"root ::= \"\\x4\"", KL_ERR_INVALID,
         "expected 2 hexadecimal digits after \\x, found '\"'"},
        {"root ::= \"\\ud83d\"", KL_ERR_INVALID, "half of a surrogate pair"},
        {"root ::= \"\\U00110000\"", KL_ERR_INVALID, "expected a character up to 10FFFF"},
        {"root ::= \"\xFF\"", KL_ERR_INVALID, "column 11: expected UTF-8, found the byte 0xFF"},
        {"root ::= \"a\"\nroot ::= \"b\"", KL_ERR_INVALID,
         "line 2, column 1: expected each rule once, found 'root'"},
        {"root ::= <[1000]>", KL_ERR_UNSUPPORTED,
         "tokens (<name>, <[id]>, !<name>) are not supported"},
        {"root ::= !<think>*", KL_ERR_UNSUPPORTED, "write the text of the token in quotes"},
        {"root ::= \"a\" root", KL_ERR_INVALID, "no finite text completes the rule 'root'"},
        {"root ::= x\nx ::= x \"a\" | \"b\"", KL_ERR_UNSUPPORTED,
         "line 2, column 1: the rule 'x' is left recursive"},
        {"root ::= \"\" x? root \"a\" | \"b\"\nx ::= \"c\"*", KL_ERR_UNSUPPORTED,
         "'root' is left recursive"},
        {"root ::= \"a\"* (root)", KL_ERR_INVALID, "no finite text"},
        {"root ::= root | \"\"", KL_ERR_UNSUPPORTED, "left recursive"},
        {"root ::= \"a\"*********", KL_ERR_LIMIT, "more than 8 operators after one item"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kl_rule *rule;
        struct kl_error err = {0};
        enum kl_status status =
            kl_gbnf_compile(cases[i].grammar, strlen(cases[i].grammar), &rule, &err);
        if (status != cases[i].status || strstr(err.text, cases[i].text) == NULL)
            fail_msg("%s\n%s: %s", cases[i].grammar, kl_status_name(status), err.text);
    }
}

static char *room_for(size_t bytes)
{
    char *room = malloc(bytes);
    if (room == NULL)
        abort();
    return room;
}

/* Repeats `part` n times between begin and end. */
static char *repeat(const char *begin, const char *part, size_t n, const char *end)
{
    size_t len = strlen(part);
    char *text = room_for(strlen(begin) + n * len + strlen(end) + 1), *at = text;
    at = stpcpy(at, begin);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, part);
    strcpy(at, end);
    return text;
}

static void refuses(char *grammar, const char *limit)
{
    struct kl_rule *rule;
    struct kl_error err = {0};
    enum kl_status status = kl_gbnf_compile(grammar, strlen(grammar), &rule, &err);
    if (status != KL_ERR_LIMIT || strstr(err.text, limit) == NULL)
        fail_msg("%.40s...: %s: %s", grammar, kl_status_name(status), err.text);
    free(grammar);
}

static void refuses_what_is_too_large(void **state)
{
    (void)state;
    refuses(repeat("root ::= \"a\" #", "x", KL_GBNF_MAX_TEXT, ""),
            "its text may have 1048576 bytes");
    refuses(repeat("root ::= ", "(", KL_GBNF_MAX_DEPTH + 1, ""), "more than 100 parentheses");
    refuses(repeat("root ::= ", "[a]", KL_GBNF_MAX_PARTS, ""), "more than 200000 parts");
    refuses(repeat("root ::= \"a\"{200000}", "", 0, ""), "more than 200000 positions");
    refuses(repeat("root ::= \"a\" | \"b\"{1000000000}", "", 0, ""), "more than 200000 positions");
    /* All alternatives are tried at the first byte. */
    refuses(repeat("root ::= \"a\"", "|\"a\"", KL_GBNF_MAX_PLACES, ""), "more than 65536 places");
    refuses(repeat("root ::= (\"a\"?){0,70000}", "", 0, ""), "more than 65536 places");
    char *rules = room_for(20 * KL_GBNF_MAX_RULES + 40), *at = rules;
    at += snprintf(at, 20, "root ::= \"a\"\n");
    for (int i = 0; i < KL_GBNF_MAX_RULES; i++)
        at += snprintf(at, 20, "r%d ::= \"a\"\n", i);
    refuses(rules, "more than 10000 rules");
    char *classes = room_for(KL_GBNF_MAX_TEXT);
    at = classes + snprintf(classes, 20, "root ::= \"a\"");
    for (int i = 0; i < 40000; i++)
        at +=
            snprintf(at, 30, "[a\\u%04X-\\u%04X\\uE%03X]", 0x800 + i, 0xA001 + i % 8000, i % 4096);
    refuses(classes, "more than 2097152 bytes");
}

/* Runs a grammar over n times 'a', and returns the failure of the machine. */
static enum kl_status run_over(const char *grammar, size_t n, size_t *taken, size_t *memory)
{
    struct kl_rule *rule = compile(grammar);
    struct kl_machine *machine;
    struct kl_rule_state state;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    machine->kind->begin(machine, &state);
    size_t i = 0;
    for (; i < n && machine->kind->step(machine, &state, 'a', &state); i++)
        machine->kind->release(machine, machine->kind->mark(machine)); /* as after each mask */
    *taken = i;
    *memory = machine->kind->bytes(machine);
    enum kl_status status = machine->failure.status;
    machine->kind->close(machine);
    kl_rule_disown(rule);
    return status;
}

static void runs_hostile_grammars_within_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *grammar;
        size_t n, taken, memory; /* memory: at most */
    } cases[] = {
        {"root ::= (\"a\" | \"a\")*", 10000, 10000, 50000},
        {"root ::= (a | a)*\na ::= \"a\" | \"a\" | \"a\"?", 10000, 10000, 50000},
        {"root ::= ((((\"a\"*)*)*)*)*", 10000, 10000, 50000},
        {"root ::= \"a\" root | \"a\"", 100000, 100000, 50000}, /* the last call keeps no stack */
        {"root ::= \"a\"{1,90000}", 100000, 90000, 16 << 20},
        {"root ::= ((\"a\"{1000}){1000}){1000}", 100000, 100000, 16 << 20},
        /* With a stack for each way to come here: 2^n of them. */
        {"root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"a\"", 1000, 1000, 16 << 20},
        {"root ::= \"a\" root root | \"a\"", 200, 200, 16 << 20},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t taken, memory;
        enum kl_status status = run_over(cases[i].grammar, cases[i].n, &taken, &memory);
        if (status != KL_OK || taken != cases[i].taken || memory > cases[i].memory)
            fail_msg("%s: %s, %zu taken, %zu bytes", cases[i].grammar, kl_status_name(status),
                     taken, memory);
    }
}

/* Parsing and emitting are recursive; this is as deep as they go. */
static void compiles_the_deepest_nesting(void **state)
{
    (void)state;
    char *open = repeat("root ::= ", "(", KL_GBNF_MAX_DEPTH, "\"a\"");
    char *grammar = repeat(open, ")*+?{2}*+?*", KL_GBNF_MAX_DEPTH, "");
    size_t taken, memory;
    assert_int_equal(run_over(grammar, 1000, &taken, &memory), KL_OK);
    assert_int_equal(taken, 1000);
    free(open);
    free(grammar);
}

/* A walk over all tokens ends where it takes too long. */
static void fails_by_name_where_time_ends(void **state)
{
    (void)state;
    struct kl_rule *rule = compile("root ::= a{1,1000}\n"
                                   "a ::= b{0,30}\n"
                                   "b ::= .{0,30} | \"a\" a | . . b");
    struct kl_machine *machine;
    struct kl_rule_state now, to;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    machine->kind->begin(machine, &now);
    size_t mark = machine->kind->mark(machine), steps = 0;
    while (machine->failure.status == KL_OK && steps < 10000000)
        for (int byte = 'a'; byte <= 'z'; byte++, steps++)
            machine->kind->step(machine, &now, (uint8_t)byte, &to);
    assert_int_equal(machine->failure.status, KL_ERR_LIMIT);
    assert_non_null(strstr(machine->failure.text, "262144 steps for one mask"));
    machine->kind->release(machine, mark);
    assert_false(machine->kind->step(machine, &now, 'a', &to)); /* it sticks */
    machine->kind->close(machine);
    kl_rule_disown(rule);
}

/* Without an end of stacks, memory is what ends it. */
static void fails_by_name_where_memory_ends(void **state)
{
    (void)state;
    size_t taken, memory;
    assert_int_equal(run_over("root ::= \"a\" root \"b\" | \"a\"", 10000000, &taken, &memory),
                     KL_ERR_LIMIT);
    assert_true(taken > 50000);
    assert_true(memory < 16 << 20);
}

static void forgets_what_a_trial_reached(void **state)
{
    (void)state;
    struct kl_rule *rule = compile(json_grammar);
    struct kl_machine *machine;
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    const struct kl_machine_kind *kind = machine->kind;
    struct kl_rule_state begin, now, trial;
    kind->begin(machine, &begin);
    now = begin;
    for (const char *c = "{\"a\": [1, "; *c != '\0'; c++)
        assert_true(kind->step(machine, &now, (uint8_t)*c, &now));
    size_t mark = kind->mark(machine);
    for (int round = 0; round < 100; round++) {
        trial = now;
        for (const char *c = "{\"b\":[[[{\"é\":1.5e1}]]]}"; *c != '\0'; c++)
            assert_true(kind->step(machine, &trial, (uint8_t)*c, &trial));
        kind->release(machine, mark);
        assert_int_equal(kind->mark(machine), mark);
    }
    for (const char *c = "2], \"c\": {}}"; *c != '\0'; c++)
        assert_true(kind->step(machine, &now, (uint8_t)*c, &now));
    assert_true(kind->is_complete(machine, &now));

    /* Equal places of the grammar are equal states. */
    now = begin;
    for (const char *c = "{\"a\": 1, \""; *c != '\0'; c++)
        assert_true(kind->step(machine, &now, (uint8_t)*c, &now));
    trial = now;
    for (const char *c = "b\": [], \""; *c != '\0'; c++)
        assert_true(kind->step(machine, &trial, (uint8_t)*c, &trial));
    assert_memory_equal(&now, &trial, sizeof now);
    kind->close(machine);
    kl_rule_disown(rule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_texts_classes_and_groups),
        cmocka_unit_test(takes_repetitions),
        cmocka_unit_test(takes_json),
        cmocka_unit_test(takes_other_examples),
        cmocka_unit_test(leaves_out_what_cannot_end),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(refuses_what_is_too_large),
        cmocka_unit_test(runs_hostile_grammars_within_bounds),
        cmocka_unit_test(compiles_the_deepest_nesting),
        cmocka_unit_test(fails_by_name_where_time_ends),
        cmocka_unit_test(fails_by_name_where_memory_ends),
        cmocka_unit_test(forgets_what_a_trial_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
