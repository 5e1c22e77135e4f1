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
    assert_string_equal(keys.keys[0].key, "first-key");
    assert_string_equal(keys.keys[1].key, "second-key");
    assert_string_equal(keys.keys[1].name, "");
    kl_api_keys_release(&keys);
}

static void test_names(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_api_keys keys;
    static const char text[] = "key-of-anna anna\n\tkey-of-bob \t Bob's  phone \r\n"
                               "nameless # a comment\nsecond-key-of-anna\tanna\n"
                               "wang-key \xE7\x8E\x8B\xE8\x8A\xB3#1\nkey-of-anna anna";
    const char *const names[] = {"anna", "Bob's  phone", "", "anna", "\xE7\x8E\x8B\xE8\x8A\xB3#1",
                                 "anna"};
    assert_int_equal(read_keys(text, &keys, &err), KL_OK);
    assert_int_equal(keys.n, sizeof names / sizeof names[0]);
    for (size_t i = 0; i < keys.n; i++)
        assert_string_equal(keys.keys[i].name, names[i]);
    assert_string_equal(keys.keys[1].key, "key-of-bob");
    assert_string_equal(keys.keys[3].key, "second-key-of-anna");
    kl_api_keys_release(&keys);
}

static void test_refused_names(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_api_keys keys;
    char text[128];
    const struct {
        const char *name, *said;
    } cases[] = {{"a\tb", "byte 2"},
                 {"an\x1b[31mna", "control"},
                 {"\xC2\x9B", "control"},       /* a C1 character begins commands, too */
                 {"x\xE2\x80\xAEy", "control"}, /* displays its rest backwards */
                 {"ann\xFF", "byte 4 of"},
                 {"", "1 to 64"},
                 {"#a", "#"},
                 {" a", "blank"},
                 {"a ", "blank"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(kl_key_name_check(cases[i].name, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, cases[i].said));
    }
    /* a file in which one key has a name that is none */
    for (size_t i = 0; i < 5; i++) {
        snprintf(text, sizeof text, "# keys\nlong-enough %s\n", cases[i].name);
        assert_int_equal(read_keys(text, &keys, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, "line 2"));
        assert_null(strstr(err.text, "long-enough"));
        kl_api_keys_release(&keys);
    }
    memset(text, 'n', sizeof text);
    text[KL_MAX_KEY_NAME] = '\0';
    assert_int_equal(kl_key_name_check(text, &err), KL_OK);
    text[KL_MAX_KEY_NAME] = 'n';
    text[KL_MAX_KEY_NAME + 1] = '\0';
    assert_int_equal(kl_key_name_check(text, &err), KL_ERR_INVALID);

    assert_int_equal(read_keys("the-same-key a\nthe-same-key b\n", &keys, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "line 2"));
    assert_non_null(strstr(err.text, "'a' or 'b'"));
    kl_api_keys_release(&keys);
}

static void test_too_many(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_api_keys keys;
    char text[(KL_MAX_API_KEYS + 1) * 16], *end = text;
    for (int i = 0; i < KL_MAX_API_KEYS; i++)
        end += sprintf(end, "key-%05d\n", i);
    assert_int_equal(read_keys(text, &keys, &err), KL_OK);
    kl_api_keys_release(&keys);
    sprintf(end, "one-more\n");
    assert_int_equal(read_keys(text, &keys, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "more than 256"));
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
    write_file(path, "# for the client\n  sk-1 anna\nsk-2\n");
    assert_int_equal(kl_read_key(path, &text, &key, &err), KL_OK);
    assert_string_equal(key, "sk-1");
    unlink(path);
    kl_buffer_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_keys),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused_names), cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_refused_files), cmocka_unit_test(test_first_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
