/* src/base/error.c */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/utf8.h"

static void fills_text_and_returns_status(void **state)
{
    (void)state;
    struct kl_error err = {0};
    assert_int_equal(kl_fail(&err, KL_ERR_LIMIT, "expected %d, found %s", 4, "five"), KL_ERR_LIMIT);
    assert_int_equal(err.status, KL_ERR_LIMIT);
    assert_string_equal(err.text, "expected 4, found five");
    assert_int_equal(kl_fail(NULL, KL_ERR_BUSY, "not read"), KL_ERR_BUSY);
}

static void maps_errno(void **state)
{
    (void)state;
    static const struct {
        int number;
        enum kl_status status;
    } cases[] = {{ENOENT, KL_ERR_NOT_FOUND}, {ENOMEM, KL_ERR_MEMORY}, {EACCES, KL_ERR_IO}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_error err = {0};
        errno = cases[i].number;
        assert_int_equal(kl_fail_errno(&err, "cannot open %s", "x"), cases[i].status);
        assert_int_equal(err.status, cases[i].status);
        assert_memory_equal(err.text, "cannot open x: ", 15);
        assert_string_equal(err.text + 15, strerror(cases[i].number));
        errno = cases[i].number;
        assert_int_equal(kl_fail_errno(NULL, "cannot open"), cases[i].status);
    }
}

static void truncates_long_texts(void **state)
{
    (void)state;
    char text[1000];
    struct kl_error err = {0};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    kl_fail(&err, KL_ERR_IO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    errno = EIO;
    kl_fail_errno(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    kl_error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void puts_a_prefix_before(void **state)
{
    (void)state;
    struct kl_error err = {0};
    kl_fail(&err, KL_ERR_FORMAT, "too short");
    kl_error_prefix(&err, "file %d", 7);
    assert_string_equal(err.text, "file 7: too short");
    assert_int_equal(err.status, KL_ERR_FORMAT);
    kl_error_prefix(NULL, "file %d", 7);
}

static void control_bytes_do_not_get_through(void **state)
{
    (void)state;
    struct kl_error err = {0};
    kl_fail(&err, KL_ERR_FORMAT, "%s", "a\x1b[2Jb\nc\x7f \xe4\xb8\xad");
    assert_string_equal(err.text, "a?[2Jb?c? \xe4\xb8\xad");
    kl_fail(&err, KL_ERR_FORMAT, "%s", "C1 \xc2\x9b, no UTF-8 \x9b, bidi \xe2\x80\xae");
    assert_string_equal(err.text, "C1 ?, no UTF-8 ?, bidi ?");
    kl_error_prefix(&err, "%s", "a\x1b\xc2\x9b");
    assert_string_equal(err.text, "a??: C1 ?, no UTF-8 ?, bidi ?");
    /* a character at the end of the storage is cut */
    char text[600];
    memset(text, 'x', sizeof text);
    snprintf(text + sizeof err.text - 2, 4, "\xe4\xb8\xad");
    kl_fail(&err, KL_ERR_IO, "%s", text);
    assert_true(kl_utf8_valid(err.text, strlen(err.text)));
    assert_int_equal(err.text[sizeof err.text - 2], '?');
}

static void names_the_failed_allocation(void **state)
{
    (void)state;
    struct kl_error err = {0};
    assert_int_equal(kl_fail_memory(&err, "a thing", 123), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "123"));
    assert_non_null(strstr(err.text, "a thing"));
}

static void every_status_has_its_own_name(void **state)
{
    (void)state;
    for (int i = KL_OK; i <= KL_ERR_CANCELLED; i++) {
        assert_string_not_equal(kl_status_name((enum kl_status)i), "unknown");
        for (int j = KL_OK; j < i; j++)
            assert_string_not_equal(kl_status_name((enum kl_status)i),
                                    kl_status_name((enum kl_status)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_text_and_returns_status),
        cmocka_unit_test(maps_errno),
        cmocka_unit_test(truncates_long_texts),
        cmocka_unit_test(puts_a_prefix_before),
        cmocka_unit_test(control_bytes_do_not_get_through),
        cmocka_unit_test(names_the_failed_allocation),
        cmocka_unit_test(every_status_has_its_own_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
