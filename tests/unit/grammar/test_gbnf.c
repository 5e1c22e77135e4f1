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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_texts_classes_and_groups),
        cmocka_unit_test(takes_repetitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
