#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/route.h"

static void test_paths(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"/", "/"},
        {"//", "/"},
        {"/a/b", "/a/b"},
        {"/a/b/", "/a/b"},
        {"//a///b//", "/a/b"},
        {"/a?b/c", "/a"},
        {"/a#b", "/a"},
        {"/a%20b%2Fc", "/a b/c"},
        {"/%e4%bd%a0", "/\xe4\xbd\xa0"},
        {"/%", "/%"},
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(kl_route_path(cases[i][0], out, sizeof out));
        assert_string_equal(out, cases[i][1]);
    }
    const char *const bad[] = {"", "a", "*", "?a", "/a%00b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kl_route_path(bad[i], out, sizeof out));
    assert_true(kl_route_path("/34567", out, 7));
    assert_false(kl_route_path("/345678", out, 7));
}

/* Every byte except NUL can be written as its two digits, in either case. */
static void test_all_escapes(void **state)
{
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        const char *const forms[] = {"/%%%02x.", "/%%%02X."};
        for (size_t i = 0; i < 2; i++) {
            char in[8], out[8];
            const char expected[] = {'/', (char)byte, '.', '\0'};
            snprintf(in, sizeof in, forms[i], (unsigned)byte);
            assert_true(kl_route_path(in, out, sizeof out));
            assert_string_equal(out, byte == '/' ? "/." : expected);
        }
    }
    /* a % that is not an escape is kept */
    for (int c = 1; c < 256; c++) {
        const char in[] = {'/', '%', '4', (char)c, '.', '\0'};
        char out[8];
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (c == '/' || c == '?' || c == '#')
            continue;
        assert_true(kl_route_path(in, out, sizeof out));
        assert_int_equal(strlen(out), digit ? 3 : 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_all_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
