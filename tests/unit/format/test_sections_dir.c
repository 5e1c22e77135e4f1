/* src/format/sections_dir.c: which files are listed, which are removed first, and which never. */
#include <dirent.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "format/sections_dir.h"

#define BLOCK 65536

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void path_of(const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", dir, name);
}

/* A file of some blocks that was used last at `used`, seconds since 1970. */
static void make_file(const char *name, size_t blocks, time_t used)
{
    char path[200];
    static const char data[BLOCK] = {1};
    path_of(name, path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < blocks; i++)
        assert_int_equal(write(fd, data, BLOCK), BLOCK);
    assert_int_equal(fsync(fd), 0); /* or its blocks may not be counted yet */
    const struct timespec times[2] = {{.tv_sec = used}, {.tv_sec = used}};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static bool is_there(const char *name)
{
    char path[200];
    path_of(name, path, sizeof path);
    return access(path, F_OK) == 0;
}

/* The descriptor of a process that uses it. */
static int use(const char *name)
{
    char path[200];
    path_of(name, path, sizeof path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    return fd;
}

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-00000001.packed"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-00000001.packed"
#define C "cccccccccccccccccccccccccccccccc-00000001.packed"
#define T "dddddddddddddddddddddddddddddddd-00000001.tokenizer"

static void clear(void)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(d);
}

static void names_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum kl_sections_kind kind;
    } known[] = {
        {A, KL_SECTIONS_WHOLE},
        {T, KL_SECTIONS_WHOLE},
        {A ".tmp", KL_SECTIONS_PARTIAL},
        {T ".tmp", KL_SECTIONS_PARTIAL},
        {"index.tmp", KL_SECTIONS_PARTIAL},
        {"index", KL_SECTIONS_FOREIGN},
        {"model.gguf.0123456789abcdef.packed", KL_SECTIONS_OUTDATED},
        {"m.0123456789abcdef.tokenizer", KL_SECTIONS_OUTDATED},
        {"m.0123456789abcdef.packed.tmp", KL_SECTIONS_OUTDATED},
        {"m.0123456789abcdeF.packed", KL_SECTIONS_FOREIGN},
        {"m.0123456789abcde.packed", KL_SECTIONS_FOREIGN},
        {".0123456789abcdef.packed", KL_SECTIONS_FOREIGN},
        {"my weights.packed", KL_SECTIONS_FOREIGN},
        {"aaaa-00000001.packed", KL_SECTIONS_FOREIGN},
        {A ".old", KL_SECTIONS_FOREIGN},
        {"a.packed.gz", KL_SECTIONS_FOREIGN},
        {".packed", KL_SECTIONS_FOREIGN},
        {"", KL_SECTIONS_FOREIGN},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (kl_sections_kind(known[i].name) != known[i].kind)
            fail_msg("%s", known[i].name);
    }
    char name[KL_SECTIONS_NAME_SIZE];
    const struct kl_digest source = {{0xAA, 0xBB}};
    kl_sections_name(&source, 0xFFFFFFFF, KL_SECTIONS_TABLES ".tmp", name);
    assert_int_equal(kl_sections_kind(name), KL_SECTIONS_PARTIAL);
}

static void what_is_there_is_listed(void **state)
{
    (void)state;
    struct kl_sections_list list;
    struct kl_error err;
    make_file(A, 2, 300);
    make_file(B, 1, 100);
    make_file(T, 1, 200);
    make_file("of another program", 1, 1);
    int fd = use(T);
    assert_int_equal(kl_sections_list(dir, &list, &err), KL_OK);
    assert_int_equal(list.n, 3);
    assert_string_equal(list.items[0].name, B);
    assert_string_equal(list.items[1].name, T);
    assert_string_equal(list.items[2].name, A);
    assert_false(list.items[0].in_use);
    assert_true(list.items[1].in_use);
    assert_int_equal(list.items[2].size, 2 * BLOCK);
    assert_true(list.items[2].used == INT64_C(300) * 1000000000);
    kl_sections_list_release(&list);
    close(fd);
    assert_true(kl_sections_has_size(dir, 2 * BLOCK));
    assert_false(kl_sections_has_size(dir, 2 * BLOCK + 1));
    assert_int_equal(kl_sections_list("/tmp/kinglet-none/packed", &list, &err), KL_OK);
    assert_int_equal(list.n, 0);
    clear();
}

static void the_oldest_go_first(void **state)
{
    (void)state;
    make_file(A, 4, 300);
    make_file(B, 4, 100);
    make_file(C, 4, 200);
    make_file(T, 1, 50);
    make_file("mine.packed", 9, 1);
    struct kl_sections_removed removed = kl_sections_trim(dir, (uint64_t)13 * 2 * BLOCK);
    assert_int_equal(removed.files, 0);
    removed = kl_sections_trim(dir, (uint64_t)9 * BLOCK);
    assert_int_equal(removed.files, 2);
    assert_true(removed.bytes >= 5 * BLOCK);
    assert_true(is_there(A) && !is_there(B) && is_there(C) && !is_there(T));
    /* the last one stays, of whatever size, until all shall go */
    assert_int_equal(kl_sections_trim(dir, 1).files, 1);
    assert_true(is_there(A) && !is_there(C));
    assert_int_equal(kl_sections_trim(dir, 0).files, 1);
    assert_true(!is_there(A) && is_there("mine.packed"));
    clear();
}

static void what_is_in_use_never_goes(void **state)
{
    (void)state;
    make_file(A, 4, 100);
    make_file(B, 4, 200);
    make_file(C, 4, 300);
    make_file(C ".tmp", 4, 300);
    make_file(B ".tmp", 4, 300);
    int a = use(A), writing = use(C ".tmp");
    /* files in use do not count, so the cap is that of B and C */
    assert_int_equal(kl_sections_trim(dir, (uint64_t)10 * BLOCK).files, 1);
    assert_true(is_there(A) && is_there(B) && is_there(C) && is_there(C ".tmp"));
    assert_false(is_there(B ".tmp")); /* left by a writer that was killed */
    assert_int_equal(kl_sections_trim(dir, 0).files, 2);
    assert_true(is_there(A) && is_there(C ".tmp"));
    assert_int_equal(kl_sections_make_room(dir, UINT64_MAX).files, 0);
    close(a);
    close(writing);
    assert_int_equal(kl_sections_make_room(dir, 0).files, 1); /* the leftover */
    assert_true(is_there(A));
    assert_int_equal(kl_sections_make_room(dir, UINT64_MAX).files, 0); /* cannot be reached */
    assert_true(is_there(A));
    clear();
}

static void what_older_versions_left_goes(void **state)
{
    (void)state;
    static const char *const old[] = {"qwen.gguf.0123456789abcdef.packed",
                                      "qwen.gguf.0123456789abcdef.tokenizer",
                                      "qwen.gguf.0123456789abcdef.packed.tmp"};
    for (size_t i = 0; i < 3; i++)
        make_file(old[i], 1, 100);
    make_file(A, 1, 100);
    make_file("index", 0, 100);
    make_file("notes.packed", 1, 100);
    int writing = use(old[2]); /* that version runs, and packs */
    struct kl_sections_removed removed = kl_sections_remove_old(dir);
    assert_int_equal(removed.files, 2);
    assert_true(removed.bytes >= 2 * BLOCK);
    close(writing);
    assert_int_equal(kl_sections_remove_old(dir).files, 1);
    assert_int_equal(kl_sections_remove_old(dir).files, 0);
    assert_true(is_there(A) && is_there("index") && is_there("notes.packed"));
    clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_told_apart),
        cmocka_unit_test(what_is_there_is_listed),
        cmocka_unit_test(the_oldest_go_first),
        cmocka_unit_test(what_is_in_use_never_goes),
        cmocka_unit_test(what_older_versions_left_goes),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
