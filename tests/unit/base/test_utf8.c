/* src/base/utf8.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

/* Each input, and the result of Python 3.11's bytes.decode("utf-8", errors="replace") as UTF-8. */
static const struct {
    const char *in;
    size_t in_len;
    const char *out;
    size_t out_len;
} replaced[] = {
    {"", 0, "", 0},
    {"\x61", 1, "\x61", 1},
    {"\x7f", 1, "\x7f", 1},
    {"\x80", 1, "\xef\xbf\xbd", 3},
    {"\xbf", 1, "\xef\xbf\xbd", 3},
    {"\xc0", 1, "\xef\xbf\xbd", 3},
    {"\xc1", 1, "\xef\xbf\xbd", 3},
    {"\xc0\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd", 6},
    {"\xc1\xbf", 2, "\xef\xbf\xbd\xef\xbf\xbd", 6},
    {"\xc2", 1, "\xef\xbf\xbd", 3},
    {"\xc2\x80", 2, "\xc2\x80", 2},
    {"\xdf\xbf", 2, "\xdf\xbf", 2},
    {"\xc2\xc2\x80", 3, "\xef\xbf\xbd\xc2\x80", 5},
    {"\xe0\x80\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9},
    {"\xe0\x9f\xbf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9},
    {"\xe0\xa0\x80", 3, "\xe0\xa0\x80", 3},
    {"\xe0\xa0", 2, "\xef\xbf\xbd", 3},
    {"\xe0", 1, "\xef\xbf\xbd", 3},
    {"\xe0\xa0\x41", 3, "\xef\xbf\xbd\x41", 4},
    {"\xe1\x80", 2, "\xef\xbf\xbd", 3},
    {"\xe1\x80\xe1\x80\x80", 5, "\xef\xbf\xbd\xe1\x80\x80", 6},
    {"\xed\x9f\xbf", 3, "\xed\x9f\xbf", 3},
    {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9},
    {"\xed\xbf\xbf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9},
    {"\xed\xa0\xbd\xed\xb8\x80", 6,
     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 18},
    {"\xee\x80\x80", 3, "\xee\x80\x80", 3},
    {"\xef\xbf\xbd", 3, "\xef\xbf\xbd", 3},
    {"\xef\xbf\xbf", 3, "\xef\xbf\xbf", 3},
    {"\xf0\x80\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
    {"\xf0\x8f\xbf\xbf", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
    {"\xf0\x90\x80\x80", 4, "\xf0\x90\x80\x80", 4},
    {"\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80", 4},
    {"\xf0\x9f\x98", 3, "\xef\xbf\xbd", 3},
    {"\xf0\x9f", 2, "\xef\xbf\xbd", 3},
    {"\xf0", 1, "\xef\xbf\xbd", 3},
    {"\xf0\x9f\x98\x41", 4, "\xef\xbf\xbd\x41", 4},
    {"\xf0\x9f\xf0\x9f\x98\x80", 6, "\xef\xbf\xbd\xf0\x9f\x98\x80", 7},
    {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf", 4},
    {"\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
    {"\xf5\x80\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
    {"\xf8\x88\x80\x80\x80", 5, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 15},
    {"\xfc\x84\x80\x80\x80\x80", 6,
     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 18},
    {"\xfe", 1, "\xef\xbf\xbd", 3},
    {"\xff", 1, "\xef\xbf\xbd", 3},
    {"\xfe\xfe\xff\xff", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12},
    {"\x80\x80\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9},
    {"\x61\x80\x62\xff\x63", 5, "\x61\xef\xbf\xbd\x62\xef\xbf\xbd\x63", 9},
    {"\xe4\xb8\xad\xe6\x96\x87", 6, "\xe4\xb8\xad\xe6\x96\x87", 6},
    {"\xe4\xb8\xe6\x96\x87", 5, "\xef\xbf\xbd\xe6\x96\x87", 6},
    {"\xe4\xe6\x96\x87", 4, "\xef\xbf\xbd\xe6\x96\x87", 6},
    {"\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", 12,
     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\x62\xef\xbf\xbd\x63\xef\xbf\xbd\xef\xbf\xbd\x64", 21},
    {"\xc3\x28", 2, "\xef\xbf\xbd\x28", 4},
    {"\xf0\x28\x8c\x28", 4, "\xef\xbf\xbd\x28\xef\xbf\xbd\x28", 8},
    {"\xf0\x90\x28\xbc", 4, "\xef\xbf\xbd\x28\xef\xbf\xbd", 7},
    {"\xe2\x28\xa1", 3, "\xef\xbf\xbd\x28\xef\xbf\xbd", 7},
    {"\xe2\x82\x28", 3, "\xef\xbf\xbd\x28", 4},
    {"\xf3\xa0\x81\x81", 4, "\xf3\xa0\x81\x81", 4},
    {"\xf4\x8f\xbf", 3, "\xef\xbf\xbd", 3},
    {"\xf4\x90", 2, "\xef\xbf\xbd\xef\xbf\xbd", 6},
    {"\x00\xc2\x00", 3, "\x00\xef\xbf\xbd\x00", 5},
    {"\x78\xe0\x80\x79", 4, "\x78\xef\xbf\xbd\xef\xbf\xbd\x79", 8},
    {"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80", 13,
     "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xef\xbf\xbd", 14},
};

static void replaces_as_python_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof replaced / sizeof replaced[0]; i++) {
        char out[64];
        size_t len = 0;
        for (size_t at = 0; at < replaced[i].in_len;) {
            uint32_t code_point;
            bool valid;
            at += kl_utf8_decode(replaced[i].in + at, replaced[i].in_len - at, &code_point, &valid);
            assert_true(at <= replaced[i].in_len);
            assert_true(valid || code_point == KL_UTF8_REPLACEMENT);
            len += kl_utf8_encode(code_point, out + len);
        }
        assert_int_equal(len, replaced[i].out_len);
        assert_memory_equal(out, replaced[i].out, len);
        bool same = len == replaced[i].in_len && memcmp(out, replaced[i].in, len) == 0;
        assert_int_equal(kl_utf8_valid(replaced[i].in, replaced[i].in_len), same);
    }
}

static void every_scalar_value_survives(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        char text[4];
        uint32_t back;
        bool valid;
        size_t len = kl_utf8_encode(c, text);
        assert_int_equal(len, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        assert_int_equal(kl_utf8_decode(text, len, &back, &valid), len);
        assert_true(valid);
        assert_int_equal(back, c);
        /* an incomplete sequence is never valid, and is held back */
        for (size_t part = 1; part < len; part++) {
            assert_int_equal(kl_utf8_decode(text, part, &back, &valid), part);
            assert_false(valid);
            assert_int_equal(kl_utf8_incomplete_tail(text, part), part);
        }
        assert_int_equal(kl_utf8_incomplete_tail(text, len), 0);
    }
}

/* Of all strings of three bytes exactly the code points of three bytes are valid. */
static void nothing_else_is_valid(void **state)
{
    (void)state;
    size_t found[5] = {0};
    for (uint32_t bytes = 0x80; bytes < 0x100; bytes++) {
        for (uint32_t rest = 0; rest < 0x10000; rest++) {
            char text[3] = {(char)bytes, (char)(rest >> 8), (char)rest};
            uint32_t code_point;
            bool valid;
            size_t len = kl_utf8_decode(text, 3, &code_point, &valid);
            assert_in_range(len, 1, 3);
            if (valid)
                found[len]++;
        }
    }
    assert_int_equal(found[1], 0);
    assert_int_equal(found[2], (0x800 - 0x80) * 0x100);
    assert_int_equal(found[3], 0x10000 - 0x800 - 0x800); /* without the surrogates */
}

/* The same bytes as Python 3.11's incremental decoder, except half a surrogate (ed a0), which
 * cannot be completed although Python keeps it. */
static const struct {
    const char *text;
    size_t len;
    size_t tail;
} tails[] = {
    {"", 0, 0},
    {"\x61", 1, 0},
    {"\xc2", 1, 1},
    {"\x61\xc2", 2, 1},
    {"\xe4", 1, 1},
    {"\xe4\xb8", 2, 2},
    {"\xe4\xb8\xad", 3, 0},
    {"\xe4\xb8\xad\xe6", 4, 1},
    {"\xf0", 1, 1},
    {"\xf0\x9f", 2, 2},
    {"\xf0\x9f\x98", 3, 3},
    {"\xf0\x9f\x98\x80", 4, 0},
    {"\x78\xf0\x9f\x98", 4, 3},
    {"\xe0\x80", 2, 0},
    {"\xe0\xa0", 2, 2},
    {"\xed\xa0", 2, 0},
    {"\xed\x9f", 2, 2},
    {"\xf4\x90", 2, 0},
    {"\xf4\x8f\xbf", 3, 3},
    {"\x80", 1, 0},
    {"\x80\x80\x80", 3, 0},
    {"\xff", 1, 0},
    {"\xc0", 1, 0},
    {"\xc3\x28", 2, 0},
    {"\xe4\xb8\x28", 3, 0},
    {"\x61\x62\x63\xf0\x90", 5, 2},
    {"\xf0\xf0", 2, 1},
    {"\xe4\xc2", 2, 1},
    {"\xc2\xa9\xe2", 3, 1},
};

static void holds_back_incomplete_sequences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++)
        assert_int_equal(kl_utf8_incomplete_tail(tails[i].text, tails[i].len), tails[i].tail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_as_python_does),
        cmocka_unit_test(every_scalar_value_survives),
        cmocka_unit_test(nothing_else_is_valid),
        cmocka_unit_test(holds_back_incomplete_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
