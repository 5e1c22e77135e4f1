#include "grammar/regex.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static struct kl_regex *compile_bytes(const char *pattern, size_t len, enum kl_regex_mode mode)
{
    struct kl_regex *regex;
    struct kl_error err = {0};
    if (kl_regex_compile(pattern, len, mode, &regex, &err) != KL_OK)
        fail_msg("%s: %s", pattern, err.text);
    return regex;
}

static struct kl_regex_run *open_run(const struct kl_regex *regex)
{
    struct kl_regex_run *run;
    assert_int_equal(kl_regex_run_open(regex, &run, NULL), KL_OK);
    return run;
}

static uint32_t follow(struct kl_regex_run *run, const char *text, size_t len)
{
    uint32_t state = kl_regex_run_start(run);
    for (size_t i = 0; i < len; i++)
        state = kl_regex_run_step(run, state, (uint8_t)text[i]);
    assert_int_equal(kl_regex_run_failure(run), KL_OK);
    return state;
}

static bool matches_bytes(const char *pattern, enum kl_regex_mode mode, const char *text,
                          size_t len)
{
    struct kl_regex *regex = compile_bytes(pattern, strlen(pattern), mode);
    struct kl_regex_run *run = open_run(regex);
    bool matches = kl_regex_run_accepts(run, follow(run, text, len));
    kl_regex_run_close(run);
    kl_regex_free(regex);
    return matches;
}

static bool whole(const char *pattern, const char *text)
{
    return matches_bytes(pattern, KL_REGEX_WHOLE, text, strlen(text));
}

static bool search(const char *pattern, const char *text)
{
    return matches_bytes(pattern, KL_REGEX_SEARCH, text, strlen(text));
}

/* ---- constructs ------------------------------------------------------------------------------ */

static void each_construct_means_what_ecmascript_says(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *yes[6], *no[6];
    } rows[] = {
        {"", {""}, {"a"}},
        {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
        {"a|bc|", {"a", "bc", ""}, {"abc", "b"}},
        {"(a|b)*c", {"c", "abbac"}, {"ab", "cc"}},
        {"(?:ab)+", {"ab", "abab"}, {"", "aba"}},
        {"(?<name>a)(?P<other>b)", {"ab"}, {"a"}},
        {"a?b", {"b", "ab"}, {"aab"}},
        {"a{2}", {"aa"}, {"a", "aaa"}},
        {"a{2,}", {"aa", "aaaa"}, {"a"}},
        {"a{2,3}?b", {"aab", "aaab"}, {"ab", "aaaab"}},
        {"a{0}b", {"b"}, {"ab"}},
        {"(a*)*", {"", "aaa"}, {"b"}},
        {"(a|b?)+c", {"c", "abc"}, {"ab"}},
        {"a{x}{,2}", {"a{x}{,2}"}, {"a"}},
        {"a}]", {"a}]"}, {"a"}},
        {".", {"a", "é", "漢", "😀", "\t"}, {"\n", "\r", "\xE2\x80\xA8", "", "ab"}},
        {"[abx-z]", {"a", "x", "y", "z"}, {"c", "w", "-"}},
        {"[^a-c]", {"d", "é", "\n", "😀"}, {"a", "c", ""}},
        {"[a-]", {"a", "-"}, {"b"}},
        {"[-a\\d]", {"a", "-", "7"}, {"b"}},
        {"[\\w-.]", {"q", "-", "."}, {"+"}},
        {"[\\]\\\\^\\-]", {"]", "\\", "^", "-"}, {"a"}},
        {"[^]", {"a", "\n"}, {""}},
        {"[\\s\\S]{2}", {"a\n", "é漢"}, {"a"}},
        {"[\\b]", {"\b"}, {"b"}},
        {"\\d\\D", {"0a", "9é"}, {"00", "aa"}},
        {"\\w\\W", {"_-", "Aé"}, {"--", "é-"}},
        {"\\s\\S",
         {" a",
          "\xC2\xA0"
          "a",
          "\xE3\x80\x80x"},
         {"aa", "  "}},
        {"\\t\\n\\r\\f\\v", {"\t\n\r\f\v"}, {"tnrfv"}},
        {"\\cA\\x41\\u0042\\u{1F600}",
         {"\x01"
          "AB😀"},
         {"AAB"}},
        {"\\ud83d\\ude00", {"😀"}, {"?"}},
        {"\\/\\-\\_\\@\\\"\\.\\$\\{", {"/-_@\".${"}, {"/-_@\"x${"}},
        {"[à-ü]+", {"éà"}, {"e", "ÿ"}},
        {"[\\u0080-\\u{10FFFF}]", {"\xC2\x80", "\xF4\x8F\xBF\xBF", "漢"}, {"\x7F"}},
        {"^a$", {"a"}, {"b"}},
        {"(^|,)a(,|$)", {"a", ",a", "a,", ",a,"}, {"aa"}},
        {"(a|^b)c", {"ac", "bc"}, {"c"}},
        {"$^", {""}, {"a"}},
        {"(?!a)\\w+", {"b", "ba"}, {"a", "ab", ""}},
        {"^(?!(foo|bar)$).*$", {"", "fo", "foobar", "é"}, {"foo", "bar"}},
        {"(?=.*[A-Z])(?=.*\\d)(?!.*\\s).{3,}", {"aA1", "1éB"}, {"aa1", "A1", "A1 b", "AAA"}},
        {"(?!.*(aa|(?=b)bb)).*", {"abab", "ccc"}, {"caa", "abba"}},
        {"(a(?!b).)*", {"", "aa", "acaa"}, {"ab", "acab"}},
        {"a(?=b)", {NULL}, {"a", "ab"}},
        {"(?!^a)a|b(?=$)", {"b"}, {"a"}},
        {"(?=)a(?!)|c", {"c"}, {"a", ""}},
        {"(?:(?=a)a*)*", {"", "aaa"}, {"b"}},
        {"(^$)?a?", {"", "a"}, {"aa"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < 6 && rows[i].yes[k] != NULL; k++)
            if (!whole(rows[i].pattern, rows[i].yes[k]))
                fail_msg("%s does not match \"%s\"", rows[i].pattern, rows[i].yes[k]);
        for (size_t k = 0; k < 6 && rows[i].no[k] != NULL; k++)
            if (whole(rows[i].pattern, rows[i].no[k]))
                fail_msg("%s matches \"%s\"", rows[i].pattern, rows[i].no[k]);
    }
    assert_true(matches_bytes("a\\0b", KL_REGEX_WHOLE, "a\0b", 3));
}

static void a_search_finds_a_match_anywhere(void **state)
{
    (void)state;
    assert_true(search("b", "abc"));
    assert_true(search("", ""));
    assert_true(search("", "abc"));
    assert_true(search("^ab", "abc"));
    assert_false(search("^b", "abc"));
    assert_true(search("bc$", "abc"));
    assert_false(search("b$", "abc"));
    assert_true(search("^a|c$", "xc"));
    assert_true(search("é", "caféx"));
    assert_false(search("a{3}", "aabaa"));
    assert_false(search("^^a$$", "ba"));
}

/* ---- states ---------------------------------------------------------------------------------- */

static void every_state_but_the_dead_one_reaches_a_match(void **state)
{
    (void)state;
    struct kl_regex *regex = compile_bytes("ab[]|ac|(x[])*y", 15, KL_REGEX_WHOLE);
    struct kl_regex_run *run = open_run(regex);
    assert_int_not_equal(follow(run, "a", 1), KL_REGEX_DEAD);
    assert_int_equal(follow(run, "ab", 2), KL_REGEX_DEAD);
    assert_int_equal(follow(run, "x", 1), KL_REGEX_DEAD);
    assert_int_not_equal(follow(run, "y", 1), KL_REGEX_DEAD);
    assert_int_equal(follow(run, "yy", 2), KL_REGEX_DEAD);
    assert_int_equal(kl_regex_run_step(run, KL_REGEX_DEAD, 'y'), KL_REGEX_DEAD);
    kl_regex_run_close(run);
    kl_regex_free(regex);

    regex = compile_bytes("a$b", 3, KL_REGEX_SEARCH);
    run = open_run(regex);
    assert_int_equal(kl_regex_run_start(run), KL_REGEX_DEAD);
    kl_regex_run_close(run);
    kl_regex_free(regex);
}

static void look_aheads_that_exclude_each_other_are_dead(void **state)
{
    (void)state;
    static const char *const dead[] = {"(?=a)b",           "(?!.*a).*a", "(?=.*x)[^x]*",
                                       "(?=.{3}$)..",      "(?![^])[^]", "(?=(ab)*$)(?=(ba)*$)a.*",
                                       "(?!.*[\\s\\S]$).+"};
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
        struct kl_regex *regex = compile_bytes(dead[i], strlen(dead[i]), KL_REGEX_WHOLE);
        struct kl_regex_run *run = open_run(regex);
        if (kl_regex_run_start(run) != KL_REGEX_DEAD)
            fail_msg("%s can match", dead[i]);
        kl_regex_run_close(run);
        kl_regex_free(regex);
    }
    const char *pattern = "^(?!ab)(?=.*c).{0,4}$";
    struct kl_regex *regex = compile_bytes(pattern, strlen(pattern), KL_REGEX_SEARCH);
    struct kl_regex_run *run = open_run(regex);
    assert_int_not_equal(follow(run, "axx", 3), KL_REGEX_DEAD);
    assert_int_equal(follow(run, "axxx", 4), KL_REGEX_DEAD);
    assert_int_equal(follow(run, "ab", 2), KL_REGEX_DEAD);
    kl_regex_run_close(run);
    kl_regex_free(regex);
}

static void a_found_match_accepts_everything(void **state)
{
    (void)state;
    struct kl_regex *regex = compile_bytes("ab", 2, KL_REGEX_SEARCH);
    struct kl_regex_run *run = open_run(regex);
    assert_false(kl_regex_run_accepts_all(run, follow(run, "xa", 2)));
    assert_true(kl_regex_run_accepts_all(run, follow(run, "xab", 3)));
    assert_true(kl_regex_run_accepts_all(run, follow(run, "xabx", 4)));
    kl_regex_run_close(run);
    kl_regex_free(regex);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void patterns_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        enum kl_status status;
        const char *text;
    } rows[] = {
        {"(a)\\1", KL_ERR_UNSUPPORTED, "back reference"},
        {"(?<n>a)\\k<n>", KL_ERR_UNSUPPORTED, "back reference"},
        {"(?<=a)b", KL_ERR_UNSUPPORTED, "look-behind"},
        {"(?<!a)b", KL_ERR_UNSUPPORTED, "look-behind"},
        {"\\bword", KL_ERR_UNSUPPORTED, "\\b"},
        {"\\p{L}", KL_ERR_UNSUPPORTED, "\\p"},
        {"(?i)a", KL_ERR_UNSUPPORTED, "group"},
        {"(a", KL_ERR_INVALID, "')'"},
        {"a)", KL_ERR_INVALID, "')'"},
        {"(?<n", KL_ERR_INVALID, "'>'"},
        {"[a", KL_ERR_INVALID, "']'"},
        {"*a", KL_ERR_INVALID, "nothing to repeat"},
        {"a**", KL_ERR_INVALID, "nothing to repeat"},
        {"a{2}{3}", KL_ERR_INVALID, "nothing to repeat"},
        {"a{3,2}", KL_ERR_INVALID, "out of order"},
        {"[z-a]", KL_ERR_INVALID, "out of order"},
        {"a\\", KL_ERR_INVALID, "backslash"},
        {"\\xg0", KL_ERR_INVALID, "hex"},
        {"\\u{110000}", KL_ERR_INVALID, "10FFFF"},
        {"\\c1", KL_ERR_INVALID, "\\c"},
        {"a\xFFz", KL_ERR_INVALID, "UTF-8"},
        {"(.*){1,100000}", KL_ERR_LIMIT, "characters"},
        {"((a{1000}){1000}){1000}", KL_ERR_LIMIT, "characters"},
        {"a{4294967295}", KL_ERR_LIMIT, "characters"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct kl_regex *regex = NULL;
        struct kl_error err = {0};
        enum kl_status status = kl_regex_compile(rows[i].pattern, strlen(rows[i].pattern),
                                                 KL_REGEX_WHOLE, &regex, &err);
        if (status != rows[i].status || strstr(err.text, rows[i].text) == NULL || regex != NULL)
            fail_msg("%s: %s: %s", rows[i].pattern, kl_status_name(status), err.text);
    }
}

static void nesting_and_length_are_limited(void **state)
{
    (void)state;
    static char text[KL_REGEX_MAX_PATTERN + 2];
    struct kl_regex *regex;
    memset(text, '(', sizeof text);
    assert_int_equal(kl_regex_compile(text, 5000, KL_REGEX_WHOLE, &regex, NULL), KL_ERR_LIMIT);
    memset(text, 'a', sizeof text);
    assert_int_equal(kl_regex_compile(text, KL_REGEX_MAX_PATTERN + 1, KL_REGEX_WHOLE, &regex, NULL),
                     KL_ERR_LIMIT);
    for (size_t i = 0; i < 17; i++)
        memcpy(text + 4 * i, "(?=)", 4);
    assert_int_equal(kl_regex_compile(text, 68, KL_REGEX_WHOLE, &regex, NULL), KL_ERR_LIMIT);
    memset(text, 'a', sizeof text);
    memset(text, '(', 90);
    memset(text + 91, ')', 90);
    kl_regex_free(compile_bytes(text, 181, KL_REGEX_WHOLE));
}

static void large_patterns_stay_small(void **state)
{
    (void)state;
    char *text = malloc(40000);
    memset(text, 'x', 40000);
    assert_true(matches_bytes("^.{0,4096}$", KL_REGEX_SEARCH, text, 4096));
    assert_false(matches_bytes("^.{0,4096}$", KL_REGEX_SEARCH, text, 4097));
    assert_false(matches_bytes("(x+x+)+y", KL_REGEX_WHOLE, text, 40000));
    assert_true(matches_bytes("(.*){1,1000}", KL_REGEX_WHOLE, text, 40000));
    assert_true(matches_bytes("(a|b|c|d|x){1,1000}", KL_REGEX_WHOLE, text, 1000));
    assert_false(matches_bytes("(a|b|c|d|x){1,1000}", KL_REGEX_WHOLE, text, 1001));
    size_t n = 0;
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(text + n, "%scommon_beginning_%d", i == 0 ? "" : "|", i);
    assert_true(whole(text, "common_beginning_999"));
    assert_false(whole(text, "common_beginning_1000"));
    free(text);
}

/* A set of states for each of 2^n beginnings: the run ends with an error, in bounded memory. */
static void too_many_states_end_a_run(void **state)
{
    (void)state;
    struct kl_regex *regex = compile_bytes("(a|b)*a(a|b){40}", 16, KL_REGEX_WHOLE);
    struct kl_regex_run *run = open_run(regex);
    uint32_t at = kl_regex_run_start(run), random = 1;
    for (int i = 0; i < 10000000 && kl_regex_run_failure(run) == KL_OK; i++) {
        random = random * 1664525u + 1013904223u;
        at = kl_regex_run_step(run, at, random >> 31 ? 'a' : 'b');
    }
    assert_int_equal(kl_regex_run_failure(run), KL_ERR_LIMIT);
    assert_int_equal(at, KL_REGEX_DEAD);
    assert_true(kl_regex_run_bytes(run) < (size_t)32 << 20);
    kl_regex_run_close(run);
    kl_regex_free(regex);
}

#include "regex_reference.h"

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_construct_means_what_ecmascript_says),
        cmocka_unit_test(a_search_finds_a_match_anywhere),
        cmocka_unit_test(every_state_but_the_dead_one_reaches_a_match),
        cmocka_unit_test(look_aheads_that_exclude_each_other_are_dead),
        cmocka_unit_test(a_found_match_accepts_everything),
        cmocka_unit_test(patterns_are_refused_by_name),
        cmocka_unit_test(nesting_and_length_are_limited),
        cmocka_unit_test(large_patterns_stay_small),
        cmocka_unit_test(too_many_states_end_a_run),
        cmocka_unit_test(random_patterns_match_as_the_reference_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
