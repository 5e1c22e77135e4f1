/* src/grammar/regex_posix.c against glibc's regcomp and regexec: the same texts match. */
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/regex.h"
#include "grammar/regex_posix.h"

static enum kl_status compile(const char *pattern, struct kl_regex **regex, struct kl_error *err)
{
    struct kl_buffer text;
    kl_buffer_init(&text, 1000);
    enum kl_status status = kl_regex_from_posix(pattern, &text, err);
    if (status == KL_OK)
        status = kl_regex_compile(text.data, text.len, KL_REGEX_SEARCH, regex, err);
    kl_buffer_release(&text);
    return status;
}

static bool ours_matches(const struct kl_regex *regex, const char *text)
{
    struct kl_regex_run *run;
    struct kl_error err;
    assert_int_equal(kl_regex_run_open(regex, &run, &err), KL_OK);
    uint32_t state = kl_regex_run_start(run);
    for (; *text != '\0'; text++)
        state = kl_regex_run_step(run, state, (uint8_t)*text);
    assert_int_equal(kl_regex_run_failure(run), KL_OK);
    bool matches = kl_regex_run_accepts(run, state);
    kl_regex_run_close(run);
    return matches;
}

static const char *const patterns[] = {
    "",
    "a",
    "^a",
    "a$",
    "^a$",
    "^$",
    "a|b",
    "^(ab|c)+$",
    "a.c",
    "^.$",
    "^..$",
    "a*b",
    "^a{2}$",
    "^a{1,2}$",
    "^a{2,}$",
    "^(a+)?b$",
    "[0-9]+",
    "^[^0-9]+$",
    "[]a]",
    "^[^]a]$",
    "[a-]",
    "[-a]",
    "^[\\]$",
    "^[\\n]$",
    "^[a\\]b]$",
    "[.]",
    "[$^]",
    "^[*+?(){}|]$",
    "[[:digit:]]",
    "^[[:alpha:]_]+$",
    "^[[:alnum:]]+$",
    "[[:space:]]",
    "[[:punct:]]",
    "^[[:upper:]][[:lower:]]*$",
    "^[[:xdigit:]:]+$",
    "[[:blank:]]",
    "[[:cntrl:]]",
    "^[[:graph:]]+$",
    "^[[:print:]]+$",
    "[^[:digit:][:space:]]",
    "\\.",
    "\\*\\+\\?",
    "\\(a\\)",
    "\\{1\\}",
    "\\[a\\]",
    "\\^\\$",
    "\\|",
    "\\-",
    "\\/",
    "^\\w+$",
    "\\W",
    "\\s",
    "^\\S+$",
    "}",
    "]",
    "a]b",
    "(a)(b)",
    "()",
    "^(Current time is|The time is) [0-9:]+\\.",
};
static const char *const texts[] = {"",
                                    "a",
                                    "b",
                                    "ab",
                                    "ba",
                                    "abc",
                                    "aa",
                                    "aaa",
                                    "aab",
                                    "c",
                                    "cab",
                                    "axc",
                                    "a.c",
                                    "123",
                                    "a1",
                                    "-",
                                    "]",
                                    "[",
                                    "\\",
                                    "n",
                                    "a]b",
                                    "]b",
                                    ".",
                                    "$",
                                    "^",
                                    "*",
                                    "*+?",
                                    "(a)",
                                    "{1}",
                                    "[a]",
                                    "^$",
                                    "|",
                                    "/",
                                    " ",
                                    "\t",
                                    "a b",
                                    "Abc",
                                    "ABC",
                                    "a_b",
                                    "0:1f",
                                    "hello, w",
                                    "}",
                                    "{",
                                    "!",
                                    "~",
                                    "\n",
                                    "a\nb",
                                    "\x7f",
                                    "\x01",
                                    "x\r",
                                    "The time is 12:00.",
                                    "Current time is 12:34:56. Today's date is 2026-11-28."};

static void test_same_as_glibc(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct kl_regex *ours;
        struct kl_error err;
        regex_t theirs;
        print_message("%s\n", patterns[i]);
        assert_int_equal(regcomp(&theirs, patterns[i], REG_EXTENDED | REG_NOSUB), 0);
        assert_int_equal(compile(patterns[i], &ours, &err), KL_OK);
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            bool expected = regexec(&theirs, texts[k], 0, NULL, 0) == 0;
            if (ours_matches(ours, texts[k]) != expected)
                fail_msg("\"%s\" %s \"%s\"", patterns[i], expected ? "matches" : "does not match",
                         texts[k]);
        }
        kl_regex_free(ours);
        regfree(&theirs);
    }
}

static void test_other_languages(void **state)
{
    (void)state;
    const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"^.$", "\xe4\xbd\xa0", true},
        {"^[\xc3\xa4-\xc3\xbc]+$", "\xc3\xb6", true},
        {"^[\xc3\xa4-\xc3\xbc]+$", "o", false},
        {"^[^\xc3\xa4]$", "\xe4\xbd\xa0", true},
        {"^Es ist \\d+ Uhr", "Es ist 12 Uhr.", true},
        {"^\\D+$", "a1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_regex *regex;
        struct kl_error err;
        assert_int_equal(compile(cases[i].pattern, &regex, &err), KL_OK);
        assert_int_equal(ours_matches(regex, cases[i].text), cases[i].matches);
        kl_regex_free(regex);
    }
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *pattern, *said;
    } cases[] = {
        {"(a)\\1", "back references"},
        {"\\bword", "boundaries"},
        {"\\<word", "boundaries"},
        {"\\n", "escape"},
        {"\\pL", "escape"},
        {"\\", "backslash"},
        {"(?=a)", "(?"},
        {"(?:a)", "(?"},
        {"a**", "repetition"},
        {"a+?", "repetition"},
        {"a{2}{3}", "repetition"},
        {"a{,3}", "{2,3}"},
        {"a{2", "{2,3}"},
        {"[[.a.]]", "[:digit:]"},
        {"[[=a=]]", "[:digit:]"},
        {"[[:letter:]]", "[:digit:]"},
        {"[a", "']'"},
        {"[]", "']'"},
        {"[a-", "']'"},
        {"[z-a]", "order"},
        {"(a", "')'"},
        {"a)", ""},
        {"*a", ""},
        {"\xff", ""},
        {"a{1000}b{1000}c{1000}d{50000}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_regex *regex;
        struct kl_error err = {0};
        print_message("%s\n", cases[i].pattern);
        assert_int_not_equal(compile(cases[i].pattern, &regex, &err), KL_OK);
        assert_non_null(strstr(err.text, "pattern"));
        assert_non_null(strstr(err.text, cases[i].said));
    }
    char longest[1200];
    struct kl_regex *regex;
    struct kl_error err;
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(compile(longest, &regex, &err), KL_ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_glibc),
        cmocka_unit_test(test_other_languages),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
