/* src/base/cache_dir.c: what other users planted is neither followed nor written, of two writers
 * one writes, and what is in use stays. */
#include <fcntl.h>
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

#include "base/cache_dir.h"

static char top[64], cache[96], packed[128];
static int dir; /* packed, open */

static int make_top(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(top));
    assert_int_equal(setenv("XDG_CACHE_HOME", top, 1), 0);
    snprintf(cache, sizeof cache, "%s/kinglet", top);
    char path[128];
    struct kl_error err;
    if (kl_cache_prepare("packed", path, sizeof path, &err) != KL_OK)
        fail_msg("%s", err.text);
    snprintf(packed, sizeof packed, "%s", path);
    if (kl_cache_dir_open(packed, true, &dir, &err) != KL_OK)
        fail_msg("%s", err.text);
    return 0;
}

static int remove_top(void **state)
{
    (void)state;
    close(dir);
    assert_int_equal(rmdir(packed), 0); /* no temporary file is left */
    assert_int_equal(rmdir(cache), 0);
    return rmdir(top);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void directories_are_closed_to_others(void **state)
{
    (void)state;
    char path[128];
    int fd;
    struct kl_error err;
    assert_int_equal(mode_of(cache), 0700);
    assert_int_equal(mode_of(packed), 0700);
    /* as on a volume that belongs to a group, or in a directory that users created */
    assert_int_equal(chmod(cache, 02777), 0);
    assert_int_equal(chmod(packed, 0777), 0);
    assert_int_equal(kl_cache_prepare("packed", path, sizeof path, &err), KL_OK);
    assert_string_equal(path, packed);
    assert_int_equal(mode_of(cache) & 022, 0);
    assert_int_equal(mode_of(cache) & 0755, 0755); /* permission to read is the owner's decision */
    assert_int_equal(kl_cache_dir_open(packed, false, &fd, &err), KL_OK);
    assert_int_equal(mode_of(packed), 0700);
    close(fd);
    assert_int_equal(chmod(cache, 0700), 0);
}

/* As root, gives a directory to another user; as another user, uses one of root's. */
static void directories_of_others_are_refused(void **state)
{
    (void)state;
    char path[128], home[96];
    const char *foreign = "/usr";
    int fd;
    struct kl_error err = {0};
    snprintf(home, sizeof home, "%s/other", top);
    assert_int_equal(mkdir(home, 0777), 0);
    snprintf(path, sizeof path, "%s/kinglet", home);
    if (geteuid() == 0) {
        foreign = path;
        assert_int_equal(mkdir(path, 0777), 0);
        assert_int_equal(chown(path, 1, 1), 0);
    } else {
        assert_int_equal(symlink("/usr", path), 0);
    }
    char out[128];
    assert_int_equal(setenv("XDG_CACHE_HOME", home, 1), 0);
    assert_int_equal(kl_cache_prepare("packed", out, sizeof out, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "belongs to user"));
    assert_non_null(strstr(err.text, "XDG_CACHE_HOME"));
    assert_int_equal(kl_cache_dir_open(foreign, false, &fd, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "belongs to user"));
    assert_int_equal(fd, -1);
    assert_int_equal(setenv("XDG_CACHE_HOME", top, 1), 0);
    if (rmdir(path) != 0)
        unlink(path);
    rmdir(home);
}

static void links_to_directories_are_refused(void **state)
{
    (void)state;
    char path[128];
    int fd;
    struct kl_error err = {0};
    snprintf(path, sizeof path, "%s/models", cache);
    assert_int_equal(symlink("packed", path), 0);
    for (int make = 0; make < 2; make++) {
        assert_int_equal(kl_cache_dir_open(path, make, &fd, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, "symbolic link"));
        assert_non_null(strstr(err.text, "XDG_CACHE_HOME"));
    }
    unlink(path);
    assert_int_equal(kl_cache_dir_open(path, false, &fd, &err), KL_ERR_NOT_FOUND);
    /* the cache directory itself may be one: a service manager's, or to a larger disk */
    char moved[128], out[128];
    snprintf(moved, sizeof moved, "%s/moved", top);
    assert_int_equal(rename(cache, moved), 0);
    assert_int_equal(symlink("moved", cache), 0);
    assert_int_equal(kl_cache_prepare("packed", out, sizeof out, &err), KL_OK);
    assert_int_equal(kl_cache_dir_open(out, true, &fd, &err), KL_OK);
    close(fd);
    unlink(cache);
    assert_int_equal(rename(moved, cache), 0);
}

/* Makes dir/name with some text. */
static void make_file(const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void assert_holds(const char *name, const char *text)
{
    char found[64];
    size_t len;
    struct kl_error err;
    if (kl_cache_file_get(dir, name, found, sizeof found, &len, &err) != KL_OK)
        fail_msg("%s", err.text);
    assert_string_equal(found, text);
    assert_int_equal(len, strlen(text));
}

/* A link, a hard link, a pipe, or a file of another user, with the name of a file to be created. */
static void planted_files_are_not_written(void **state)
{
    (void)state;
    struct kl_error err;
    make_file("victim", "untouched");
    for (int kind = 0; kind < 4; kind++) {
        if (kind == 0)
            assert_int_equal(symlinkat("victim", dir, "new.tmp"), 0);
        else if (kind == 1)
            assert_int_equal(linkat(dir, "victim", dir, "new.tmp", 0), 0);
        else if (kind == 2)
            assert_int_equal(mkfifoat(dir, "new.tmp", 0600), 0);
        else
            make_file("new.tmp", "of another user");
        if (kind == 3 && geteuid() == 0)
            assert_int_equal(fchownat(dir, "new.tmp", 1, 1, 0), 0);
        if (kl_cache_file_put(dir, "new", "text", 4, &err) != KL_OK)
            fail_msg("%d: %s", kind, err.text);
        assert_holds("new", "text");
        assert_holds("victim", "untouched");
        assert_int_equal(faccessat(dir, "new.tmp", F_OK, AT_SYMLINK_NOFOLLOW), -1);
        /* a link with the final name is replaced */
        unlinkat(dir, "new", 0);
        assert_int_equal(symlinkat("victim", dir, "new"), 0);
        assert_int_equal(kl_cache_file_put(dir, "new", "text", 4, &err), KL_OK);
        assert_holds("new", "text");
        assert_holds("victim", "untouched");
        unlinkat(dir, "new", 0);
    }
    unlinkat(dir, "victim", 0);
}

static void planted_files_are_not_read(void **state)
{
    (void)state;
    struct kl_error err;
    int fd;
    make_file("victim", "secret");
    assert_int_equal(symlinkat("victim", dir, "link"), 0);
    assert_int_equal(mkfifoat(dir, "pipe", 0600), 0);
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    static const char *const names[] = {"link", "pipe", "directory"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kl_cache_file_open(dir, names[i], &fd, &err), KL_ERR_FORMAT);
        assert_non_null(strstr(err.text, names[i]));
        assert_int_equal(fd, -1);
        enum kl_status status = kl_cache_file_continue(dir, names[i], &fd, &err);
        assert_true(status == KL_ERR_FORMAT || (i == 2 && status == KL_ERR_IO));
    }
    /* a file to continue may have only one name */
    assert_int_equal(linkat(dir, "victim", dir, "other", 0), 0);
    assert_int_equal(kl_cache_file_continue(dir, "other", &fd, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_cache_file_open(dir, "none", &fd, &err), KL_ERR_NOT_FOUND);
    unlinkat(dir, "other", 0);
    if (geteuid() == 0) {
        assert_int_equal(fchownat(dir, "victim", 1, 1, 0), 0);
        assert_int_equal(kl_cache_file_open(dir, "victim", &fd, &err), KL_ERR_FORMAT);
    }
    unlinkat(dir, "victim", 0);
    unlinkat(dir, "link", 0);
    unlinkat(dir, "pipe", 0);
    unlinkat(dir, "directory", AT_REMOVEDIR);
}

static void one_of_two_writes(void **state)
{
    (void)state;
    struct kl_error err;
    int one, two, third;
    struct stat st;
    assert_int_equal(kl_cache_file_create(dir, "f.tmp", &one, &err), KL_OK);
    assert_int_equal(fstat(one, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(kl_cache_file_create(dir, "f.tmp", &two, &err), KL_ERR_BUSY);
    assert_false(kl_cache_file_remove(dir, "f.tmp"));
    assert_int_equal(kl_cache_write(one, "one", 3, &err), KL_OK);
    assert_int_equal(kl_cache_file_keep(dir, one, "f.tmp", "f", true, &err), KL_OK);
    close(one);
    assert_holds("f", "one");
    /* the lock of a killed writer ends with it */
    assert_int_equal(kl_cache_file_create(dir, "f.tmp", &third, &err), KL_OK);
    close(third);
    assert_int_equal(kl_cache_file_put(dir, "f", "two", 3, &err), KL_OK);
    assert_holds("f", "two");
    unlinkat(dir, "f", 0);
}

static void files_in_use_stay(void **state)
{
    (void)state;
    struct kl_error err;
    int one, two;
    struct stat st;
    make_file("f", "text");
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(dir, "f", old, 0), 0);
    assert_int_equal(kl_cache_file_open(dir, "f", &one, &err), KL_OK);
    assert_int_equal(kl_cache_file_open(dir, "f", &two, &err), KL_OK);
    assert_true(kl_cache_file_use(one) && kl_cache_file_use(two));
    assert_int_equal(fstatat(dir, "f", &st, 0), 0);
    assert_true(st.st_mtim.tv_sec > 1000); /* the last use */
    assert_true(kl_cache_file_used(dir, "f"));
    assert_false(kl_cache_file_remove(dir, "f"));
    close(one);
    assert_false(kl_cache_file_remove(dir, "f"));
    close(two);
    assert_false(kl_cache_file_used(dir, "f"));
    assert_int_equal(kl_cache_file_open(dir, "f", &one, &err), KL_OK);
    assert_true(kl_cache_file_remove(dir, "f"));
    assert_false(kl_cache_file_use(one)); /* opened before its removal, and marked after it */
    close(one);
    assert_false(kl_cache_file_remove(dir, "f"));
    assert_false(kl_cache_file_used(dir, "f"));
}

static void small_files_are_read_whole(void **state)
{
    (void)state;
    char text[5];
    size_t len;
    struct kl_error err;
    assert_int_equal(kl_cache_file_put(dir, "f", "four", 4, &err), KL_OK);
    assert_int_equal(kl_cache_file_get(dir, "f", text, sizeof text, &len, &err), KL_OK);
    assert_string_equal(text, "four");
    assert_int_equal(kl_cache_file_get(dir, "f", text, sizeof text - 1, &len, &err), KL_ERR_LIMIT);
    assert_string_equal(text, "");
    assert_int_equal(kl_cache_file_put(dir, "f", "", 0, &err), KL_OK);
    assert_int_equal(kl_cache_file_get(dir, "f", text, sizeof text, &len, &err), KL_OK);
    assert_int_equal(len, 0);
    unlinkat(dir, "f", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_are_closed_to_others),
        cmocka_unit_test(directories_of_others_are_refused),
        cmocka_unit_test(links_to_directories_are_refused),
        cmocka_unit_test(planted_files_are_not_written),
        cmocka_unit_test(planted_files_are_not_read),
        cmocka_unit_test(one_of_two_writes),
        cmocka_unit_test(files_in_use_stay),
        cmocka_unit_test(small_files_are_read_whole),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
