/* src/client/curl_setup.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/curl_setup.h"

static char value[16];

static void note(const char *line)
{
    kl_curl_note_header(line, strlen(line), "Content-Range", value, sizeof value);
}

static void reads_one_header(void **state)
{
    (void)state;
    note("HTTP/1.1 206 Partial\r\n");
    assert_string_equal(value, "");
    note("content-RANGE: \t bytes 5-8/9 \r\n");
    assert_string_equal(value, "bytes 5-8/9");
    note("Content-Rang: no\r\n");
    note("Content-Ranges: no\r\n");
    note("X-Content-Range: no\r\n");
    note("Content-Range");
    note("\r\n");
    note("");
    assert_string_equal(value, "bytes 5-8/9");
    note("Content-Range:\r\n");
    assert_string_equal(value, "");
    note("Content-Range:x");
    assert_string_equal(value, "x");
}

static void a_new_head_begins_empty(void **state)
{
    (void)state;
    note("Content-Range: bytes 1-\r\n");
    note("HTTP/2 200\r\n");
    assert_string_equal(value, "");
}

static void a_long_value_is_cut(void **state)
{
    (void)state;
    note("Content-Range: 0123456789abcdefgh\r\n");
    assert_string_equal(value, "0123456789abcde");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_header),
        cmocka_unit_test(a_new_head_begins_empty),
        cmocka_unit_test(a_long_value_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
