/* src/base/paths.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/paths.h"

static void follows_the_xdg_rules(void **state)
{
    (void)state;
    char out[200];
    setenv("HOME", "/home/someone", 1);
    setenv("XDG_CACHE_HOME", "/var/cache/x", 1);
    assert_int_equal(kl_cache_path("models", out, sizeof out, NULL), KL_OK);
    assert_string_equal(out, "/var/cache/x/kinglet/models");
    assert_int_equal(kl_cache_path(NULL, out, sizeof out, NULL), KL_OK);
    assert_string_equal(out, "/var/cache/x/kinglet");
    /* empty and relative ones count as not set */
    static const char *const ignored[] = {"", "relative/path"};
    for (size_t i = 0; i < 2; i++) {
        setenv("XDG_CACHE_HOME", ignored[i], 1);
        assert_int_equal(kl_cache_path("packed", out, sizeof out, NULL), KL_OK);
        assert_string_equal(out, "/home/someone/.cache/kinglet/packed");
    }
    unsetenv("XDG_CACHE_HOME");
    assert_int_equal(kl_cache_path(NULL, out, sizeof out, NULL), KL_OK);
    assert_string_equal(out, "/home/someone/.cache/kinglet");
}

static void reports_that_there_is_no_cache_directory(void **state)
{
    (void)state;
    char out[200];
    struct kl_error err = {0};
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_int_equal(kl_cache_path(NULL, out, sizeof out, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "XDG_CACHE_HOME"));
    setenv("HOME", "", 1);
    assert_int_equal(kl_cache_path(NULL, out, sizeof out, &err), KL_ERR_NOT_FOUND);
    setenv("HOME", "/h", 1);
    /* "/h/.cache/kinglet" and its NUL are 18 bytes */
    assert_int_equal(kl_cache_path(NULL, out, 17, &err), KL_ERR_LIMIT);
    assert_int_equal(kl_cache_path(NULL, out, 18, &err), KL_OK);
}

static void makes_missing_directories(void **state)
{
    (void)state;
    char top[] = "/tmp/kinglet-test-XXXXXX";
    char path[200];
    struct stat st;
    assert_non_null(mkdtemp(top));
    snprintf(path, sizeof path, "%s/a/bb//c/", top);
    assert_int_equal(kl_make_directories(path, NULL), KL_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(kl_make_directories(path, NULL), KL_OK);
    assert_int_equal(kl_make_directories("/", NULL), KL_OK);

    /* a file in the way, in the middle and at the end */
    struct kl_error err = {0};
    snprintf(path, sizeof path, "%s/file", top);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(kl_make_directories(path, &err), KL_ERR_IO);
    assert_non_null(strstr(err.text, path));
    snprintf(path, sizeof path, "%s/file/below", top);
    assert_int_equal(kl_make_directories(path, &err), KL_ERR_IO);

    static const char *const made[] = {"a/bb/c", "a/bb", "a"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", top, made[i]);
        assert_int_equal(rmdir(path), 0);
    }
    snprintf(path, sizeof path, "%s/file", top);
    unlink(path);
    assert_int_equal(rmdir(top), 0);
}

static void refuses_endless_paths(void **state)
{
    (void)state;
    char path[10000];
    struct kl_error err = {0};
    memset(path, 'p', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(kl_make_directories(path, &err), KL_ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_xdg_rules),
        cmocka_unit_test(reports_that_there_is_no_cache_directory),
        cmocka_unit_test(makes_missing_directories),
        cmocka_unit_test(refuses_endless_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
