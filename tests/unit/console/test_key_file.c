#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "console/key_file.h"

/* Writes a file with this text; path is a template for mkstemp. */
static void write_file(char *path, const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static enum kl_status read_keys(const char *text, struct kl_api_keys *keys, struct kl_error *err)
{
    char path[] = "/tmp/kl_keys_XXXXXX";
    write_file(path, text);
    enum kl_status status = kl_api_keys_read(path, keys, err);
    unlink(path);
    return status;
}

static void test_all_keys(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_api_keys keys;
    assert_int_equal(kl_api_keys_read(NULL, &keys, &err), KL_OK);
    assert_int_equal(keys.n, 0);
    kl_api_keys_release(&keys);
    assert_int_equal(read_keys("# a comment\n\n first-key \r\nsecond-key", &keys, &err), KL_OK);
    assert_int_equal(keys.n, 2);
    assert_string_equal(keys.keys[0], "first-key");
    assert_string_equal(keys.keys[1], "second-key");
    kl_api_keys_release(&keys);
}

static void test_refused_files(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_api_keys keys;
    assert_int_equal(read_keys("# nothing\n", &keys, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "has no key"));
    kl_api_keys_release(&keys);
    assert_int_equal(read_keys("long-enough\nshort\n", &keys, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "line 2"));
    kl_api_keys_release(&keys);
}

static void test_first_key(void **state)
{
    (void)state;
    char path[] = "/tmp/kl_keys_XXXXXX";
    struct kl_error err;
    struct kl_buffer text;
    const char *key = "";
    kl_buffer_init(&text, KL_KEY_FILE_CAP);
    assert_int_equal(kl_read_key(NULL, &text, &key, &err), KL_OK);
    assert_null(key);
    write_file(path, "# for the client\n  sk-1 \nsk-2\n");
    assert_int_equal(kl_read_key(path, &text, &key, &err), KL_OK);
    assert_string_equal(key, "sk-1");
    unlink(path);
    kl_buffer_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_first_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
