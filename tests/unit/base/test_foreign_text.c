/* src/base/foreign_text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/foreign_text.h"
#include "base/utf8.h"

static void every_character_is_safe_or_not(void **state)
{
    (void)state;
    static const uint32_t unsafe[][2] = {
        {0x00, 0x1F}, {0x7F, 0x9F}, {0x2028, 0x202E}, {0x2066, 0x2069}};
    size_t n = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        bool expected = false;
        for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
            expected = expected || (c >= unsafe[i][0] && c <= unsafe[i][1]);
        assert_int_equal(kl_foreign_unsafe(c), expected);
        n += expected;
    }
    assert_int_equal(n, 32 + 33 + 7 + 4);
}

/* A text, and its clean, escaped and filtered forms. */
static const struct {
    const char *in, *clean, *escaped, *filtered;
} cases[] = {
    {"", "", "", ""},
    {"plain 中文 😀 é", "plain 中文 😀 é", "plain 中文 😀 é", "plain 中文 😀 é"},
    {"a\nb\tc\rd", "a?b?c?d", "a\\x0ab\\x09c\\x0dd",
     "a\nb\tc\xef\xbf\xbd"
     "d"},
    {"\x1b]52;c;QUJD\x07", "?]52;c;QUJD?", "\\x1b]52;c;QUJD\\x07",
     "\xef\xbf\xbd]52;c;QUJD\xef\xbf\xbd"},
    {"\xc2\x9b"
     "2J\x7f",
     "?2J?", "\\u009b2J\\x7f", "\xef\xbf\xbd\x32J\xef\xbf\xbd"},
    {"\x9b"
     "2J",
     "?2J", "\\x9b2J", "\xef\xbf\xbd\x32J"},
    {"\xe2\x80\xae"
     "fdp.exe\xe2\x81\xa9",
     "?fdp.exe?", "\\u202efdp.exe\\u2069",
     "\xef\xbf\xbd"
     "fdp.exe\xef\xbf\xbd"},
    {"one\xe2\x80\xa8two", "one?two", "one\\u2028two", "one\xef\xbf\xbdtwo"},
    /* the marks of Hebrew and Arabic text, and the joiner of emoji */
    {"\xe2\x80\x8f\xd8\x9c\xe2\x80\x8d", "\xe2\x80\x8f\xd8\x9c\xe2\x80\x8d",
     "\xe2\x80\x8f\xd8\x9c\xe2\x80\x8d", "\xe2\x80\x8f\xd8\x9c\xe2\x80\x8d"},
    {"back\\slash \\x1b", "back\\slash \\x1b", "back\\\\slash \\\\x1b", "back\\slash \\x1b"},
    {"cut \xf0\x9f\x98", "cut ?", "cut \\xf0\\x9f\\x98", "cut \xef\xbf\xbd"},
    {"\xc0\xaf\xed\xa0\x80", "?????", "\\xc0\\xaf\\xed\\xa0\\x80",
     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
};

static void a_line_is_cleaned_in_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s", cases[i].in);
        assert_ptr_equal(kl_foreign_clean(text), text);
        assert_string_equal(text, cases[i].clean);
        kl_foreign_clean(text);
        assert_string_equal(text, cases[i].clean);
    }
}

static void escaped_texts_stay_different(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400] = "";
        size_t len = strlen(cases[i].in), filled = 0, used;
        for (size_t at = 0; at < len; filled += used)
            at += kl_foreign_escape(cases[i].in + at, len - at, text + filled, &used);
        assert_int_equal(filled, strlen(cases[i].escaped));
        assert_memory_equal(text, cases[i].escaped, filled);
    }
    /* the longest result fits into out */
    char out[KL_FOREIGN_ESCAPED];
    size_t used;
    assert_int_equal(kl_foreign_escape("\xf0\x9f\x98", 3, out, &used), 3);
    assert_int_equal(used, 12);
}

static void a_stream_may_be_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = strlen(cases[i].in);
        for (size_t a = 0; a <= len; a++) {
            for (size_t b = a; b <= len; b++) {
                struct kl_foreign_filter filter = {0};
                struct kl_buffer out;
                kl_buffer_init(&out, 1000);
                const char *in = cases[i].in;
                assert_int_equal(kl_foreign_filter(&filter, in, a, &out), KL_OK);
                assert_int_equal(kl_foreign_filter(&filter, in + a, b - a, &out), KL_OK);
                assert_int_equal(kl_foreign_filter(&filter, in + b, len - b, &out), KL_OK);
                assert_int_equal(kl_foreign_filter_end(&filter, &out), KL_OK);
                assert_int_equal(out.len, strlen(cases[i].filtered));
                if (out.len > 0)
                    assert_memory_equal(out.data, cases[i].filtered, out.len);
                kl_buffer_release(&out);
            }
        }
    }
}

/* Any bytes, at once or one by one, give the same text without unsafe characters. */
static void any_bytes_become_safe(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0x00, 0x1B, 0x0A, 'a',  0x7F, 0x80, 0x9B, 0xA8,
                                          0xAE, 0xC2, 0xE2, 0x81, 0xF0, 0x9F, 0xED, 0xFF};
    uint32_t random = 1;
    for (size_t round = 0; round < 2000; round++) {
        char text[24];
        struct kl_foreign_filter whole = {0}, pieces = {0};
        struct kl_buffer out, other;
        kl_buffer_init(&out, 1000);
        kl_buffer_init(&other, 1000);
        for (size_t i = 0; i < sizeof text; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = (char)bytes[random >> 28];
        }
        kl_foreign_filter(&whole, text, sizeof text, &out);
        kl_foreign_filter_end(&whole, &out);
        for (size_t i = 0; i < sizeof text; i++)
            kl_foreign_filter(&pieces, text + i, 1, &other);
        kl_foreign_filter_end(&pieces, &other);
        assert_int_equal(out.len, other.len);
        assert_memory_equal(out.data, other.data, out.len);
        for (size_t at = 0; at < out.len;) {
            uint32_t c;
            bool valid;
            at += kl_utf8_decode(out.data + at, out.len - at, &c, &valid);
            assert_true(valid && (c == '\n' || !kl_foreign_unsafe(c)));
        }
        kl_buffer_release(&out);
        kl_buffer_release(&other);
    }
}

static void a_full_buffer_is_reported(void **state)
{
    (void)state;
    struct kl_foreign_filter filter = {0};
    struct kl_buffer out;
    kl_buffer_init(&out, 3);
    assert_int_equal(kl_foreign_filter(&filter, "abcd", 4, &out), KL_ERR_LIMIT);
    kl_buffer_release(&out);
}

static const struct {
    const char *text, *line;
    size_t size;
} lines[] = {
    {"plain", "plain", 64},
    {"", "", 64},
    {"\xe4\xb8\xad", "\xe4\xb8\xad", 64},
    {"a\xff\xe9z", "a\xef\xbf\xbd\xef\xbf\xbdz", 64},
    {"a\xe4\xb8", "a\xef\xbf\xbd", 64},
    {"a\nb\x1b[m\x7f\xc2\x9b",
     "a\xef\xbf\xbd"
     "b\xef\xbf\xbd[m\xef\xbf\xbd\xef\xbf\xbd",
     64},
    {"abcd", "abc", 4},
    {"a\xe4\xb8\xad", "a", 4},
    {"a\xe4\xb8\xad", "a\xe4\xb8\xad", 5},
    {"\xff", "", 3},
    {"x", "", 1},
};

static void lines_are_whole_code_points_without_controls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char out[64];
        kl_foreign_line(lines[i].text, strlen(lines[i].text), out, lines[i].size);
        assert_string_equal(out, lines[i].line);
        assert_true(kl_utf8_valid(out, strlen(out)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_is_safe_or_not),
        cmocka_unit_test(a_line_is_cleaned_in_place),
        cmocka_unit_test(lines_are_whole_code_points_without_controls),
        cmocka_unit_test(escaped_texts_stay_different),
        cmocka_unit_test(a_stream_may_be_cut_anywhere),
        cmocka_unit_test(any_bytes_become_safe),
        cmocka_unit_test(a_full_buffer_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
