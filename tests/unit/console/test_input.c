#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "console/input.h"

static void test_files(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_buffer text;
    char path[] = "/tmp/kl_input_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    kl_buffer_init(&text, 8);
    assert_int_equal(kl_read_input(path, &text, &err), KL_OK); /* empty, but a string */
    assert_string_equal(text.data, "");
    assert_int_equal(write(fd, "ab\0cdefg", 8), 8);
    assert_int_equal(kl_read_input(path, &text, &err), KL_OK);
    assert_int_equal(text.len, 8);
    assert_memory_equal(text.data, "ab\0cdefg", 8);
    kl_buffer_clear(&text);
    assert_int_equal(write(fd, "h", 1), 1);
    assert_int_equal(kl_read_input(path, &text, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "larger than 8 bytes"));
    close(fd);
    unlink(path);
    assert_int_equal(kl_read_input(path, &text, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    kl_buffer_release(&text);
}

/* Calls kl_read_text with a file of these bytes. */
static enum kl_status read_text(const char *bytes, size_t len, struct kl_buffer *text,
                                struct kl_error *err)
{
    char path[] = "/tmp/kl_input_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
    kl_buffer_clear(text);
    enum kl_status status = kl_read_text(path, text, err);
    unlink(path);
    return status;
}

static void test_texts(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_buffer text;
    kl_buffer_init(&text, 64);
    assert_int_equal(read_text("", 0, &text, &err), KL_OK);
    assert_int_equal(read_text("\xEF\xBB\xBF"
                               "a\n",
                               5, &text, &err),
                     KL_OK);
    assert_int_equal(text.len, 2);
    assert_string_equal(text.data, "a\n");
    assert_int_equal(read_text("\xEF\xBB\xBF", 3, &text, &err), KL_OK);
    assert_int_equal(text.len, 0);
    assert_int_equal(read_text("a\xEF\xBB\xBF", 4, &text, &err), KL_OK);
    assert_int_equal(text.len, 4);
    assert_int_equal(read_text("ab\0c", 4, &text, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "a NUL byte after 2 bytes"));
    kl_buffer_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
