#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "engine/stop.h"

/* The definition, without a stream: where the stop string that is complete first begins, or -1. */
static long reference(const char *text, size_t len, const char *const *stops, size_t n)
{
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n; i++) {
            size_t stop_len = strlen(stops[i]);
            if (stop_len <= end && memcmp(text + end - stop_len, stops[i], stop_len) == 0 &&
                stop_len > longest)
                longest = stop_len;
        }
        if (longest > 0)
            return (long)(end - longest);
    }
    return -1;
}

/* Streams text in pieces that end where `cuts` has a bit (and at the end), and checks after each
 * piece that no text is shown which the reference would not show. */
static void check_stream(const char *text, const char *const *stops, size_t n, uint64_t cuts)
{
    struct kl_stop_matcher m;
    assert_int_equal(kl_stop_init(&m, stops, n, NULL), KL_OK);
    size_t len = strlen(text), longest_stop = 0;
    for (size_t i = 0; i < n; i++) {
        if (strlen(stops[i]) > longest_stop)
            longest_stop = strlen(stops[i]);
    }
    long match = reference(text, len, stops, n);
    size_t certain = match < 0 ? len : (size_t)match;
    size_t start = 0;
    bool found = false;
    for (size_t at = 1; at <= len && !found; at++) {
        bool inside = at < len && ((unsigned char)text[at] & 0xC0) == 0x80;
        if (inside || (at < len && (cuts >> (at % 64) & 1) == 0))
            continue;
        size_t withheld = kl_stop_scan(&m, text + start, at - start, &found);
        assert_true(withheld <= at);
        size_t shown = at - withheld;
        assert_true(shown <= certain);
        assert_true(kl_utf8_valid(text, shown));
        if (found)
            assert_int_equal(shown, certain);
        else
            assert_true(withheld < longest_stop || n == 0);
        start = at;
    }
    assert_int_equal(found, match >= 0);
    assert_int_equal(m.found > 0, found);
    if (found)
        assert_memory_equal(text + match, stops[m.found - 1], strlen(stops[m.found - 1]));
}

static void test_every_split(void **state)
{
    (void)state;
    static const char *const stops[] = {"END", "\n\n", "停止", "aab", "。谢"};
    static const char *const texts[] = {
        "abcENDxyz", "abcENxyzE", "aaab",        "a\n\nb",   "a\nb\n",
        "你停止好",  "你停好止",  "你停停止",    "好。谢谢", "好。再。",
        "aaaaaabE",  "ENEND",     "EN\n停aa。E", "停止",     "",
    };
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        size_t len = strlen(texts[t]);
        for (uint64_t cuts = 0; cuts < (uint64_t)1 << len; cuts++)
            check_stream(texts[t], stops, 5, cuts);
    }
}

static void test_first_complete_then_longest(void **state)
{
    (void)state;
    static const char *const stops[] = {"abcde", "cd", "bcd", "x"};
    struct kl_stop_matcher m;
    bool found;
    assert_int_equal(kl_stop_init(&m, stops, 4, NULL), KL_OK);
    assert_int_equal(kl_stop_scan(&m, "zab", 3, &found), 2);
    assert_false(found);
    /* "bcd" and "cd" are complete together and before "abcde": 3 bytes and the e after them */
    assert_int_equal(kl_stop_scan(&m, "cde", 3, &found), 4);
    assert_true(found);
}

static void test_without_stops_nothing_is_withheld(void **state)
{
    (void)state;
    struct kl_stop_matcher m;
    bool found = true;
    assert_int_equal(kl_stop_init(&m, NULL, 0, NULL), KL_OK);
    assert_int_equal(kl_stop_scan(&m, "anything", 8, &found), 0);
    assert_false(found);
}

static void test_empty_piece_keeps_the_state(void **state)
{
    (void)state;
    static const char *const stops[] = {"ab"};
    struct kl_stop_matcher m;
    bool found;
    assert_int_equal(kl_stop_init(&m, stops, 1, NULL), KL_OK);
    assert_int_equal(kl_stop_scan(&m, "a", 1, &found), 1);
    assert_int_equal(kl_stop_scan(&m, "", 0, &found), 1);
    assert_int_equal(kl_stop_scan(&m, "b", 1, &found), 2);
    assert_true(found);
}

static uint64_t random_state = 7;

static size_t random_below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % n;
}

/* Few letters, so that strings overlap, repeat and contain each other. */
static void random_text(char *out, size_t n_letters)
{
    static const char *const letters[] = {"a", "b", "é", "止", "停", "😀"};
    out[0] = '\0';
    for (size_t i = 0; i < n_letters; i++)
        strcat(out, letters[random_below(6)]);
}

static void test_random_against_reference(void **state)
{
    (void)state;
    for (int round = 0; round < 50000; round++) {
        char strings[KL_MAX_STOPS][32], text[256];
        const char *stops[KL_MAX_STOPS];
        size_t n = 1 + random_below(KL_MAX_STOPS);
        for (size_t i = 0; i < n; i++) {
            random_text(strings[i], 1 + random_below(6));
            stops[i] = strings[i];
        }
        random_text(text, random_below(60));
        uint64_t cuts = (uint64_t)random_below(1u << 31) << 32 | random_below(1u << 31);
        check_stream(text, stops, n, cuts);
        check_stream(text, stops, n, UINT64_MAX);
    }
}

static void test_longest_stop_is_withheld_whole(void **state)
{
    (void)state;
    char stop[KL_MAX_STOP_SIZE + 1], text[KL_MAX_STOP_SIZE + 8];
    memset(stop, 'a', KL_MAX_STOP_SIZE - 1);
    stop[KL_MAX_STOP_SIZE - 1] = 'b';
    stop[KL_MAX_STOP_SIZE] = '\0';
    const char *stops[] = {stop};
    memset(text, 'a', sizeof text - 2);
    text[sizeof text - 2] = 'b';
    text[sizeof text - 1] = '\0';
    check_stream(text, stops, 1, UINT64_MAX);
    check_stream(text, stops, 1, 0);
    text[3] = 'b';
    check_stream(text, stops, 1, UINT64_MAX);
}

static void expect_refused(const char *const *stops, size_t n, const char *text)
{
    struct kl_stop_matcher m;
    struct kl_error err;
    assert_int_equal(kl_stop_init(&m, stops, n, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, text));
}

static void test_refused(void **state)
{
    (void)state;
    const char *many[KL_MAX_STOPS + 1];
    for (size_t i = 0; i <= KL_MAX_STOPS; i++)
        many[i] = "a";
    expect_refused(many, KL_MAX_STOPS + 1, "at most 16 strings, found 17");
    expect_refused((const char *const[]){"a", ""}, 2, "string 2 is empty");
    expect_refused((const char *const[]){NULL}, 1, "string 1 is empty");
    expect_refused((const char *const[]){"\xE5\x81"}, 1, "string 1 is not valid UTF-8");
    char big[KL_MAX_STOP_SIZE + 2];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    expect_refused((const char *const[]){big}, 1, "has 257 bytes, expected at most 256");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_first_complete_then_longest),
        cmocka_unit_test(test_without_stops_nothing_is_withheld),
        cmocka_unit_test(test_empty_piece_keeps_the_state),
        cmocka_unit_test(test_random_against_reference),
        cmocka_unit_test(test_longest_stop_is_withheld_whole),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
