/* src/format/sections.c: what was written is read again; every kind of damage is seen and named; of
 * several writers one writes. */
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

#include "format/sections.h"

enum { N_SECTIONS = 4 };

static const char name[] = "file.packed", temporary[] = "file.packed.tmp";
static const struct kl_digest key = {{77}};

/* less than a chunk; nothing; several chunks and a rest; a few bytes */
static const size_t sizes[N_SECTIONS] = {100000, 0, ((size_t)3 << 20) + 12345, 3};
static const char *const names[N_SECTIONS] = {"first", "empty", "large", "last"};

static char dir[64], below[80], path[128];
static uint8_t *content;

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(below, sizeof below, "%s/below", dir);
    snprintf(path, sizeof path, "%s/%s", below, name);
    content = malloc(sizes[2]);
    assert_non_null(content);
    uint32_t random = 1;
    for (size_t i = 0; i < sizes[2]; i++) {
        random = random * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
        content[i] = (uint8_t)(random >> 24);
    }
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    rmdir(below);
    free(content);
    return rmdir(dir); /* fails if anything temporary was left */
}

static struct kl_sections_writer *begin_file(void)
{
    struct kl_sections_writer *w = NULL;
    struct kl_error err = {0};
    if (kl_sections_create(below, temporary, N_SECTIONS, &w, &err) != KL_OK)
        fail_msg("%s", err.text);
    return w;
}

static void finish_file(struct kl_sections_writer *w)
{
    struct kl_error err = {0};
    for (size_t i = 0; i < N_SECTIONS; i++) {
        assert_int_equal(kl_sections_begin(w, names[i], &err), KL_OK);
        for (size_t at = 0; at < sizes[i]; at += 70001) { /* in pieces that fit nothing */
            size_t n = sizes[i] - at < 70001 ? sizes[i] - at : 70001;
            assert_int_equal(kl_sections_write(w, content + at, n, &err), KL_OK);
        }
    }
    if (kl_sections_finish(w, name, &key, &err) != KL_OK)
        fail_msg("%s", err.text);
}

static void write_file(void)
{
    finish_file(begin_file());
}

/* Opens and checks; the text of a refusal goes to *err. */
static enum kl_status read_file(size_t n_threads, struct kl_error *err)
{
    struct kl_sections file;
    *err = (struct kl_error){0};
    enum kl_status status = kl_sections_open(&file, below, name, &key, err);
    if (status == KL_OK)
        status = kl_sections_check(&file, n_threads, NULL, NULL, err);
    kl_sections_close(&file);
    return status;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    write_file();
    struct kl_sections file;
    struct kl_error err = {0};
    assert_int_equal(kl_sections_open(&file, below, name, &key, &err), KL_OK);
    assert_int_equal(kl_sections_check(&file, 1, NULL, NULL, &err), KL_OK);
    assert_int_equal(kl_sections_check(&file, 3, NULL, NULL, &err), KL_OK);
    struct kl_section s;
    for (size_t i = 0; i < N_SECTIONS; i++) {
        assert_int_equal(kl_sections_find(&file, i, names[i], sizes[i], &s, &err), KL_OK);
        assert_memory_equal(s.data, content, sizes[i]);
        assert_int_equal((uintptr_t)s.data % 64, 0);
    }
    assert_int_equal(kl_sections_find(&file, 0, "first", 99999, &s, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_sections_find(&file, 0, "last", sizes[0], &s, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_sections_find(&file, N_SECTIONS, "more", 0, &s, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "section more is missing"));
    kl_sections_close(&file);
}

static void another_key_is_another_file(void **state)
{
    (void)state;
    write_file();
    struct kl_sections file;
    struct kl_error err = {0};
    /* any bit of it */
    for (size_t i = 0; i < KL_DIGEST_SIZE; i++) {
        struct kl_digest other = key;
        other.bytes[i] ^= 0x80;
        assert_int_equal(kl_sections_open(&file, below, name, &other, &err), KL_ERR_NOT_FOUND);
    }
    assert_null(file.map.data);
}

static void flip(off_t at, unsigned bits)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)(byte ^ bits);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Each bit of the header and the directory, and bits of every part of the sections. */
static void damage_is_seen(void **state)
{
    (void)state;
    write_file();
    const off_t head = 64 + N_SECTIONS * 128;
    struct stat st;
    struct kl_error err;
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at += at < head ? 1 : 99991) {
        unsigned bits = 1u << (at % 8);
        flip(at, bits);
        enum kl_status status = read_file(2, &err);
        /* version and key: a file of something else */
        bool other = (at >= 8 && at < 12) || (at >= 32 && at < 64);
        if (status != (other ? KL_ERR_NOT_FOUND : KL_ERR_FORMAT))
            fail_msg("byte %ld: %s", (long)at, err.text);
        flip(at, bits);
    }
    assert_int_equal(read_file(1, &err), KL_OK);

    flip(head + 5000, 0x10);
    assert_int_equal(read_file(1, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "section first"));
    write_file();
    flip(st.st_size - 1, 0x80);
    assert_int_equal(read_file(1, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "section last"));
}

/* As a bad block of a disk: zeros, or what stands elsewhere. */
static void lost_blocks_are_seen(void **state)
{
    (void)state;
    enum { BLOCK = 4096 };
    static const uint8_t zeros[BLOCK] = {0};
    uint8_t a[BLOCK], b[BLOCK];
    struct kl_error err;
    for (int round = 0; round < 3; round++) {
        write_file();
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, a, BLOCK, 64 * (off_t)BLOCK), BLOCK);
        assert_int_equal(pread(fd, b, BLOCK, 65 * (off_t)BLOCK), BLOCK);
        assert_int_equal(pwrite(fd, round == 0 ? zeros : b, BLOCK, 64 * (off_t)BLOCK), BLOCK);
        if (round == 2)
            assert_int_equal(pwrite(fd, a, BLOCK, 65 * (off_t)BLOCK), BLOCK);
        close(fd);
        assert_int_equal(read_file(1, &err), KL_ERR_FORMAT);
        assert_non_null(strstr(err.text, "section large"));
    }
}

static void another_length_is_refused(void **state)
{
    (void)state;
    const off_t lengths[] = {0, 1, 63, 64, 200, 64 + N_SECTIONS * 128, 1000000};
    struct kl_error err;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_file();
        assert_int_equal(truncate(path, lengths[i]), 0);
        assert_int_equal(read_file(1, &err), KL_ERR_FORMAT);
    }
    write_file();
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size + 1), 0);
    assert_int_equal(read_file(1, &err), KL_ERR_FORMAT);
    unlink(path);
    assert_int_equal(read_file(1, &err), KL_ERR_NOT_FOUND);
}

struct watch {
    size_t calls;
    uint64_t done, total;
    size_t stop_at; /* the call that says no; 0: none does */
};

static bool note(void *context, uint64_t done, uint64_t total)
{
    struct watch *w = context;
    w->calls++;
    assert_true(done > w->done && done <= total);
    w->done = done;
    w->total = total;
    return w->calls != w->stop_at;
}

static void checking_can_be_watched_and_ended(void **state)
{
    (void)state;
    write_file();
    struct kl_sections file;
    struct kl_error err = {0};
    assert_int_equal(kl_sections_open(&file, below, name, &key, &err), KL_OK);
    struct watch all = {0}, first = {.stop_at = 1};
    assert_int_equal(kl_sections_check(&file, 2, note, &all, &err), KL_OK);
    assert_true(all.calls > 0);
    assert_int_equal(all.done, file.map.size);
    assert_int_equal(all.total, file.map.size);
    assert_int_equal(kl_sections_check(&file, 2, note, &first, &err), KL_ERR_CANCELLED);
    assert_int_equal(first.calls, 1);
    kl_sections_close(&file);
}

static void one_of_two_writes(void **state)
{
    (void)state;
    struct kl_sections_writer *first = begin_file(), *second = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_sections_create(below, temporary, 1, &second, &err), KL_ERR_BUSY);
    assert_null(second);
    finish_file(first);
    assert_int_equal(read_file(1, &err), KL_OK);
}

static void what_is_given_up_leaves_nothing(void **state)
{
    (void)state;
    struct kl_error err = {0};
    struct kl_sections_writer *w = begin_file();
    assert_int_equal(kl_sections_begin(w, "first", &err), KL_OK);
    kl_sections_abandon(w);
    assert_int_equal(read_file(1, &err), KL_OK); /* the one that was there */
    unlink(path);
    w = begin_file();
    kl_sections_abandon(w);
    assert_int_equal(read_file(1, &err), KL_ERR_NOT_FOUND);
    write_file(); /* the lock is free again */
    assert_int_equal(read_file(1, &err), KL_OK);
}

/* A writer that was killed leaves a temporary file, longer than what comes now. */
static void leftovers_are_taken_over(void **state)
{
    (void)state;
    char left[160];
    snprintf(left, sizeof left, "%s.tmp", path);
    int fd = open(left, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)10 << 20), 0);
    close(fd);
    write_file();
    struct kl_error err;
    assert_int_equal(read_file(1, &err), KL_OK);
    assert_int_equal(access(left, F_OK), -1);
}

static void the_size_is_known_before(void **state)
{
    (void)state;
    write_file();
    struct stat st;
    uint64_t all[N_SECTIONS];
    for (size_t i = 0; i < N_SECTIONS; i++)
        all[i] = sizes[i];
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(kl_sections_size(all, N_SECTIONS), st.st_size);
}

/* A link under the name of the file, or of the temporary one: what it leads to is neither read nor
 * written. */
static void links_are_not_followed(void **state)
{
    (void)state;
    struct kl_error err;
    char victim[96], planted[160], text[16] = "";
    snprintf(victim, sizeof victim, "%s/victim", dir);
    snprintf(planted, sizeof planted, "%s.tmp", path);
    int fd = open(victim, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "untouched", 9), 9);
    unlink(path);
    assert_int_equal(symlink(victim, planted), 0);
    write_file();
    assert_int_equal(access(planted, F_OK), -1);
    assert_int_equal(read_file(1, &err), KL_OK);

    assert_int_equal(link(victim, planted), 0); /* another name of the same file */
    write_file();
    assert_int_equal(pread(fd, text, sizeof text, 0), 9);
    assert_string_equal(text, "untouched");
    close(fd);

    char real[160];
    snprintf(real, sizeof real, "%s/real", below);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink("real", path), 0);
    assert_int_equal(read_file(1, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "not a file of this user's"));
    unlink(real);
    unlink(path);
    unlink(victim);

    /* nor one in place of the directory */
    snprintf(real, sizeof real, "%s/elsewhere", dir);
    assert_int_equal(rename(below, real), 0);
    assert_int_equal(symlink("elsewhere", below), 0);
    struct kl_sections_writer *w = NULL;
    assert_int_equal(kl_sections_create(below, temporary, 1, &w, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "symbolic link"));
    unlink(below);
    assert_int_equal(rename(real, below), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(another_key_is_another_file),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(lost_blocks_are_seen),
        cmocka_unit_test(another_length_is_refused),
        cmocka_unit_test(checking_can_be_watched_and_ended),
        cmocka_unit_test(one_of_two_writes),
        cmocka_unit_test(what_is_given_up_leaves_nothing),
        cmocka_unit_test(leftovers_are_taken_over),
        cmocka_unit_test(the_size_is_known_before),
        cmocka_unit_test(links_are_not_followed),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
