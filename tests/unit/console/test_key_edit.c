#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "console/key_edit.h"
#include "console/key_file.h"

static char folder[] = "/tmp/kl_key_edit_XXXXXX";
static char path[64]; /* of the key file in it */

static int set_up(void **state)
{
    (void)state;
    if (folder[strlen(folder) - 1] == 'X' && mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/keys", folder);
    unlink(path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    return 0;
}

static void write_file(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void expect_file(const char *text)
{
    char found[4096];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    found[fread(found, 1, sizeof found - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(found, text);
}

static void expect_only_file(void)
{
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* no temporary file is left */
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void test_add(void **state)
{
    (void)state;
    struct kl_error err;
    struct stat st;
    char first[KL_NEW_KEY], second[KL_NEW_KEY], expected[256];
    size_t n;
    assert_int_equal(kl_key_add(path, "anna", first, &n, &err), KL_OK);
    assert_int_equal(n, 1);
    assert_int_equal(strlen(first), 26);
    assert_int_equal(strspn(first, "0123456789abcdefghjkmnpqrstvwxyz"), 26);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(kl_key_add(path, "anna", second, &n, &err), KL_OK);
    assert_int_equal(n, 2);
    assert_string_not_equal(first, second);
    snprintf(expected, sizeof expected, "%s anna\n%s anna\n", first, second);
    expect_file(expected);

    /* other lines stay; the last one gets its end; others can no longer read it */
    write_file("# keys\r\nold-key-1 # of bob", 0644);
    assert_int_equal(kl_key_add(path, "Anna's phone", first, &n, &err), KL_OK);
    snprintf(expected, sizeof expected, "# keys\r\nold-key-1 # of bob\n%s Anna's phone\n", first);
    expect_file(expected);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    expect_only_file();
}

static void test_add_is_refused(void **state)
{
    (void)state;
    struct kl_error err;
    char key[KL_NEW_KEY];
    size_t n;
    const char *const names[] = {"", "#anna", "an\nna", " anna", "\xFF"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(kl_key_add(path, names[i], key, &n, &err), KL_ERR_INVALID);
    assert_int_not_equal(access(path, F_OK), 0);

    write_file("good-key anna\nshort bob\n", 0600); /* a server would not read it */
    assert_int_equal(kl_key_add(path, "anna", key, &n, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "line 2"));
    expect_file("good-key anna\nshort bob\n");

    assert_int_equal(kl_key_add(folder, "anna", key, &n, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "is not a file"));
    assert_int_equal(kl_key_add("-", "anna", key, &n, &err), KL_ERR_INVALID);
    assert_int_not_equal(kl_key_add("/nowhere/at/all", "anna", key, &n, &err), KL_OK);
    assert_non_null(strstr(err.text, "/nowhere/at"));

    FILE *file = fopen(path, "w");
    for (int i = 0; i < KL_MAX_API_KEYS; i++)
        fprintf(file, "key-%05d\n", i);
    fclose(file);
    assert_int_equal(kl_key_add(path, "anna", key, &n, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "256 keys"));
    file = fopen(path, "w");
    for (size_t i = 0; i < KL_KEY_FILE_CAP / 64; i++)
        fprintf(file, "#%062zu\n", i);
    fclose(file);
    assert_int_equal(kl_key_add(path, "anna", key, &n, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "no room"));
    expect_only_file();
}

static void test_one_change_at_a_time(void **state)
{
    (void)state;
    struct kl_error err;
    char key[KL_NEW_KEY], temporary[80];
    size_t n;
    write_file("good-key anna\n", 0600);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int fd = open(temporary, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(kl_key_add(path, "bob", key, &n, &err), KL_ERR_BUSY);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(kl_key_remove(path, "anna", &n, &n, &err), KL_ERR_BUSY);
    expect_file("good-key anna\n");
    close(fd); /* a process that was killed leaves its file, without the lock */
    assert_int_equal(kl_key_add(path, "bob", key, &n, &err), KL_OK);
    expect_only_file();
}

/* Another process ends its change after this one has looked for the file, and before it locks it:
 * between them the directory is checked, by this function of libc. */
static const char *change_of_another;

int faccessat(int dir, const char *name, int mode, int flags)
{
    (void)flags;
    if (change_of_another != NULL)
        write_file(change_of_another, 0600);
    change_of_another = NULL;
    return (int)syscall(SYS_faccessat, dir, name, mode);
}

static void test_a_change_just_before_is_kept(void **state)
{
    (void)state;
    static const char *const before[] = {NULL, "key-of-anna-0 anna\n"};
    for (size_t i = 0; i < 2; i++) {
        char key[KL_NEW_KEY], expected[128];
        size_t n;
        unlink(path);
        if (before[i] != NULL)
            write_file(before[i], 0600);
        change_of_another = "key-of-carl-0 carl\n";
        assert_int_equal(kl_key_add(path, "bob", key, &n, NULL), KL_OK);
        assert_null(change_of_another);
        snprintf(expected, sizeof expected, "key-of-carl-0 carl\n%s bob\n", key);
        expect_file(expected);
    }
}

static void test_a_link_is_followed(void **state)
{
    (void)state;
    struct kl_error err;
    struct stat st;
    char key[KL_NEW_KEY], link[80];
    size_t n;
    write_file("good-key anna\n", 0600);
    snprintf(link, sizeof link, "%s/link", folder);
    assert_int_equal(symlink("keys", link), 0);
    assert_int_equal(kl_key_add(link, "bob", key, &n, &err), KL_OK);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(kl_key_remove(link, "bob", &n, &n, &err), KL_OK);
    expect_file("good-key anna\n");
    unlink(link);
    expect_only_file();
}

static void test_remove(void **state)
{
    (void)state;
    struct kl_error err;
    size_t n_removed, n_left;
    static const char text[] = "# household\nkey-of-anna anna\n\n  key-of-bob bob \r\n# laptop\n"
                               "second-of-anna anna\nnameless-key\nlast-of-anna anna";
    write_file(text, 0600);
    assert_int_equal(kl_key_remove(path, "Anna", &n_removed, &n_left, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "did you mean 'anna'"));
    assert_int_equal(kl_key_remove(path, "", &n_removed, &n_left, &err), KL_ERR_INVALID);
    expect_file(text);
    assert_int_equal(kl_key_remove(path, "anna", &n_removed, &n_left, &err), KL_OK);
    assert_int_equal(n_removed, 3);
    assert_int_equal(n_left, 2);
    expect_file("# household\n\n  key-of-bob bob \r\n# laptop\nnameless-key\n");

    char fingerprint[KL_KEY_FINGERPRINT];
    kl_key_fingerprint("nameless-key", fingerprint);
    assert_string_equal(fingerprint, "7fa4ca9c"); /* printf %s nameless-key | sha256sum */
    assert_int_equal(kl_key_remove(path, fingerprint, &n_removed, &n_left, &err), KL_OK);
    assert_int_equal(n_removed, 1);
    assert_int_equal(kl_key_remove(path, "bob", &n_removed, &n_left, &err), KL_OK);
    assert_int_equal(n_left, 0);
    expect_file("# household\n\n# laptop\n");
    assert_int_equal(kl_key_remove(path, "bob", &n_removed, &n_left, &err), KL_ERR_NOT_FOUND);
    expect_only_file();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_add, set_up),
        cmocka_unit_test_setup(test_add_is_refused, set_up),
        cmocka_unit_test_setup(test_one_change_at_a_time, set_up),
        cmocka_unit_test_setup(test_a_change_just_before_is_kept, set_up),
        cmocka_unit_test_setup(test_a_link_is_followed, set_up),
        cmocka_unit_test_setup(test_remove, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
