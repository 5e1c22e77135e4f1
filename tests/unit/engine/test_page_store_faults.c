/*
 * src/engine/page_store.c on a disk that is full, read-only or broken, or slow; and when the
 * process is killed at any of its calls. The linker's --wrap puts the functions below between the
 * program and the C library (see meson.build).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "disk_pages.h"

/* ---- the disk -------------------------------------------------------------------------------- */

static atomic_long n_calls;      /* that change the disk, since the last disk_ok or disk_fails */
static atomic_long failing = -1; /* number of the call that fails; `lasting`: and all after it */
static atomic_bool lasting;
static atomic_int failure;                               /* its errno; 0: the process is killed */
static atomic_size_t most = SIZE_MAX;                    /* bytes that one write takes */
static atomic_int n_warnings;                            /* log lines about writing being off */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: writing waits */

static void disk_fails(long number, bool from_there_on, int error)
{
    atomic_store(&n_calls, 0);
    atomic_store(&failure, error);
    atomic_store(&lasting, from_there_on);
    atomic_store(&failing, number);
}

/* Returns how many calls there were. */
static long disk_ok(void)
{
    atomic_store(&failing, -1);
    return atomic_load(&n_calls);
}

static bool fails(void)
{
    long number = atomic_fetch_add(&n_calls, 1);
    long first = atomic_load(&failing);
    if (first < 0 || number < first || (number > first && !atomic_load(&lasting)))
        return false;
    errno = atomic_load(&failure);
    if (errno == 0)
        kill(getpid(), SIGKILL);
    return true;
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (fd == STDERR_FILENO) {
        atomic_fetch_add(&n_warnings, memmem(data, size, "takes no more pages", 19) != NULL);
        return __real_write(fd, data, size);
    }
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    size_t now = atomic_load(&most);
    return fails() ? -1 : __real_write(fd, data, size < now ? size : now);
}

/* Also the name of openat with large file support. */
int __real_openat64(int at, const char *path, int flags, mode_t mode);
int __wrap_openat64(int at, const char *path, int flags, mode_t mode);
int __wrap_openat64(int at, const char *path, int flags, mode_t mode)
{
    bool changes = (flags & (O_CREAT | O_DIRECTORY)) != 0; /* or reads the directory */
    return changes && fails() ? -1 : __real_openat64(at, path, flags, mode);
}

int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new)
{
    return fails() ? -1 : __real_renameat(from, old, to, new);
}

int __real_unlinkat(int at, const char *path, int flags);
int __wrap_unlinkat(int at, const char *path, int flags);
int __wrap_unlinkat(int at, const char *path, int flags)
{
    return fails() ? -1 : __real_unlinkat(at, path, flags);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void a_full_queue_takes_no_more(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(500));
    const int32_t most_queued = (int32_t)store_stats(store).max_queued;
    pthread_mutex_lock(&gate);
    for (int32_t i = 0; i < most_queued + 3; i++) {
        struct disk_page p = first_page(store, i);
        assert_int_equal(page_put(store, &p), i < most_queued);
        assert_int_equal(page_get(store, &p), i < most_queued);
    }
    struct disk_page first = first_page(store, 0), last = first_page(store, 1000);
    assert_true(page_put(store, &first)); /* stored already: not written again */
    assert_int_equal(store_stats(store).queued, most_queued);
    assert_int_equal(store_stats(store).dropped, 3);
    pthread_mutex_unlock(&gate);
    kl_page_store_flush(store);
    assert_true(page_put(store, &last));
    kl_page_store_flush(store);
    assert_int_equal(store_stats(store).written, most_queued + 1);
    assert_int_equal(count_files(""), most_queued + 1);
    kl_page_store_close(store);
}

static void a_second_process_leaves_what_is_being_written(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1);
    pthread_mutex_lock(&gate);
    assert_true(page_put(store, &p));
    while (count_files(KL_PAGE_TEMPORARY) == 0)
        usleep(100);
    kl_page_store_close(store_open(CAP(8)));
    pthread_mutex_unlock(&gate);
    kl_page_store_flush(store);
    assert_true(page_is_on_disk(&p));
    assert_int_equal(store_stats(store).write_errors, 0);
    kl_page_store_close(store);
}

static void a_write_may_take_less_than_asked_for(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1);
    atomic_store(&most, 7);
    assert_true(page_put(store, &p));
    kl_page_store_flush(store);
    atomic_store(&most, SIZE_MAX);
    assert_true(page_is_on_disk(&p) && page_get(store, &p));
    kl_page_store_close(store);
}

/* Puts rows of 4 pages one after the other, so that some are removed, until `n` were tried; pages
 * that are found are right (checked by page_get). Returns how many were taken. */
static int put_rows(struct kl_page_store *store, int32_t n, int32_t from)
{
    struct disk_page p = {0};
    int taken = 0;
    for (int32_t i = from; i < from + n; i++) {
        p = i % 4 == 0 ? first_page(store, i) : page_after(&p.key, i);
        taken += page_put(store, &p);
        kl_page_store_flush(store);
        page_get(store, &p);
        assert_true(count_files("") <= 6 + 1); /* and one that is being written */
    }
    return taken;
}

/* After an error writing is off; after a number of pages it is tried again, and goes on. */
static void expect_recovery(struct kl_page_store *store, int32_t from)
{
    long tries = 0;
    do
        put_rows(store, 4, from);
    while (!store_stats(store).on && ++tries < 10000);
    assert_true(store_stats(store).on);
    struct disk_page p = first_page(store, from + 1000);
    assert_true(page_put(store, &p));
    kl_page_store_flush(store);
    assert_true(page_is_on_disk(&p) && page_get(store, &p));
    assert_int_equal(count_files(KL_PAGE_TEMPORARY), 0);
    assert_true(count_files("") <= 6);
    assert_int_equal(count_files(""), store_stats(store).pages);
}

/* ROWS pages: more than the cap, and more than are written between two scans of the directory. */
enum { ROWS = KL_PAGE_STORE_RESCAN + 12 };

static void any_call_may_fail_once(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EROFS, EIO, EDQUOT};
    bool reached = true;
    for (long number = 0; reached; number += number < 60 ? 1 : 7) {
        struct kl_page_store *store = store_open(CAP(6));
        put_rows(store, 8, -8);
        atomic_store(&n_warnings, 0);
        disk_fails(number, false, errors[number % 4]);
        put_rows(store, ROWS, 0);
        reached = disk_ok() > number;
        assert_int_equal(store_stats(store).write_errors, reached);
        assert_int_equal(atomic_load(&n_warnings), reached);
        assert_int_equal(store_stats(store).damaged, 0);
        expect_recovery(store, 1000);
        kl_page_store_close(store);
    }
}

static void a_disk_that_stays_broken_is_logged_once(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EROFS, EIO};
    for (size_t e = 0; e < 3; e++) {
        for (long number = 0; number < 40; number += 3) {
            struct kl_page_store *store = store_open(CAP(6));
            put_rows(store, 8, -8);
            atomic_store(&n_warnings, 0);
            disk_fails(number, true, errors[e]);
            put_rows(store, 400, 0);
            disk_ok();
            struct kl_page_store_stats stats = store_stats(store);
            assert_false(stats.on);
            assert_int_equal(atomic_load(&n_warnings), 1);
            assert_in_range(stats.write_errors, 2, 4); /* after 64 more, 128, 256 */
            assert_int_equal(stats.damaged, 0);
            expect_recovery(store, 1000);
            kl_page_store_close(store);
        }
    }
}

static void an_error_drops_what_is_queued(void **state)
{
    enum { QUEUED = 20 };
    (void)state;
    struct kl_page_store *store = store_open(CAP(100));
    pthread_mutex_lock(&gate);
    disk_fails(1, true, ENOSPC); /* creating the file is the call before */
    for (int32_t i = 0; i < QUEUED; i++) {
        struct disk_page p = first_page(store, i);
        assert_true(page_put(store, &p));
    }
    pthread_mutex_unlock(&gate);
    kl_page_store_flush(store);
    disk_ok();
    assert_int_equal(store_stats(store).dropped, QUEUED);
    assert_int_equal(store_stats(store).queued, 0);
    assert_int_equal(store_stats(store).write_errors, 1);
    kl_page_store_close(store);
}

static void a_directory_that_cannot_be_read(void **state)
{
    (void)state;
    struct kl_page_store_options options = {
        .dir = dir, .page_bytes = PAGE_BYTES, .identity = "", .max_bytes = CAP(8)};
    struct kl_page_store *store;
    struct kl_error err;
    disk_fails(0, true, EACCES);
    assert_int_equal(kl_page_store_open(&options, &store, &err), KL_ERR_IO);
    disk_ok();
    assert_non_null(strstr(err.text, dir));
    assert_null(store);
}

/* ---- killed ---------------------------------------------------------------------------------- */

enum { KILLS = 200, ROW = 12, N_ROWS = 4 };

/* In a process of its own: puts rows of pages for ever. */
static void put_until_killed(uint32_t round)
{
    struct kl_page_store *store = store_open(CAP(30));
    for (uint32_t i = round;; i++) {
        struct disk_page p = first_page(store, (int32_t)(i % N_ROWS));
        for (int32_t k = 1; k < ROW; k++) {
            page_put(store, &p);
            page_get(store, &p);
            p = page_after(&p.key, k);
        }
        struct disk_page other = first_page(store, (int32_t)(100 + i % 1000));
        page_put(store, &other);
    }
}

static void kill_minus_nine(void **state)
{
    (void)state;
    uint64_t x = 20261122;
    size_t got = 0;
    for (uint32_t round = 0; round < KILLS; round++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        long number = (long)(x >> 40) % 150;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            /* half of them in the middle of writing: in short pieces, at one of them */
            if (round % 2 == 0) {
                atomic_store(&most, 300);
                disk_fails(number, false, 0);
            }
            put_until_killed(round);
        }
        if (round % 2 == 1) {
            usleep((useconds_t)(number * 40));
            kill(child, SIGKILL);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        struct kl_page_store *store = store_open(CAP(30));
        assert_int_equal(count_files(KL_PAGE_TEMPORARY), 0);
        assert_true(count_files("") <= 30);
        assert_int_equal(count_files(""), store_stats(store).pages);
        for (int32_t row = 0; row < N_ROWS; row++) {
            struct disk_page p = first_page(store, row);
            for (int32_t k = 1; k < ROW; k++) {
                got += page_get(store, &p);
                p = page_after(&p.key, k);
            }
        }
        /* a killed process leaves no damage: files are complete, or have no name yet */
        assert_int_equal(store_stats(store).damaged, 0);
        kl_page_store_close(store);
    }
    assert_true(got > KILLS);
}

#define DISK_TEST(f) cmocka_unit_test_setup_teardown(f, disk_make, disk_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(a_full_queue_takes_no_more),
        DISK_TEST(a_second_process_leaves_what_is_being_written),
        DISK_TEST(a_write_may_take_less_than_asked_for),
        DISK_TEST(any_call_may_fail_once),
        DISK_TEST(a_disk_that_stays_broken_is_logged_once),
        DISK_TEST(an_error_drops_what_is_queued),
        DISK_TEST(a_directory_that_cannot_be_read),
        DISK_TEST(kill_minus_nine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
