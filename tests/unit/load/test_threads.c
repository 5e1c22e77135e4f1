/* src/load/threads.c; needs KINGLET_TEST_TINY_MODEL, as the tests of the engine do */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../base/fake_root.h"
#include "../engine/tiny_model.h"
#include "load/threads.h"

static void expect_candidates(size_t cores, size_t threads, const char *text)
{
    const struct kl_cpus cpus = {
        .allowed = threads, .fast = threads, .cores = cores, .threads = threads};
    size_t candidates[KL_THREADS_MAX_CANDIDATES];
    char found[100] = "";
    size_t n = kl_threads_candidates(&cpus, candidates), used = 0;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(found + used, sizeof found - used, "%zu ", candidates[i]);
    assert_string_equal(found, text);
}

static void test_candidates(void **state)
{
    (void)state;
    expect_candidates(1, 1, "1 ");
    expect_candidates(2, 2, "1 2 ");
    expect_candidates(2, 3, "1 2 3 ");
    expect_candidates(6, 12, "1 2 4 6 8 12 ");
    expect_candidates(12, 4, "1 2 4 "); /* a quota of 4 on 12 cores */
    expect_candidates(48, 64, "1 2 4 8 16 32 48 64 ");
}

static void test_fewer_must_be_clearly_faster(void **state)
{
    (void)state;
    struct kl_threads_speed speeds[] = {{1, 40, 100, 1}, {2, 54, 200, 1}, {4, 50, 400, 1}};
    struct kl_threads best = kl_threads_best(speeds, 3);
    assert_int_equal(best.decode, 4); /* 54 is not clearly more than 50 */
    assert_int_equal(best.prefill, 4);
    speeds[1].decode = 56;
    best = kl_threads_best(speeds, 3);
    assert_int_equal(best.decode, 2);
    assert_int_equal(best.prefill, 4);
    speeds[0].decode = 60;
    assert_int_equal(kl_threads_best(speeds, 3).decode, 2);
    assert_int_equal(kl_threads_best(speeds, 1).decode, 1);
}

static void test_a_busy_computer_proves_nothing(void **state)
{
    (void)state;
    struct kl_threads_speed speeds[] = {{1, 60, 100, 1.0}, {2, 50, 200, 0.6}};
    struct kl_threads best = kl_threads_best(speeds, 2);
    assert_int_equal(best.decode, 1);
    assert_true(kl_threads_were_disturbed(speeds, 2, best));
    speeds[1].share = 0.98; /* alone: one thread is really faster here */
    assert_false(kl_threads_were_disturbed(speeds, 2, best));
    speeds[1] = (struct kl_threads_speed){2, 90, 200, 0.6}; /* the most threads won all the same */
    assert_false(kl_threads_were_disturbed(speeds, 2, kl_threads_best(speeds, 2)));
}

static struct tiny tiny;
static const struct kl_cpus two = {
    .allowed = 2, .fast = 2, .cores = 2, .threads = 2, .model = "a test"};

static int setup(void **state)
{
    tiny_open(&tiny);
    if (fake_root_make(state) != 0)
        return -1;
    return setenv("XDG_CACHE_HOME", fake_root, 1);
}

static int teardown(void **state)
{
    tiny_close(&tiny);
    return fake_root_remove(state);
}

#define ROUNDS 3 /* as in threads.c */
static int measured;

static void count_turn(void *context, size_t done, size_t total)
{
    (void)context;
    assert_true(done < total);
    measured++;
}

static struct kl_threads choose(const struct kl_cpus *cpus, struct kl_threads_options options)
{
    struct kl_threads threads;
    struct kl_error err;
    measured = 0;
    options.notify = count_turn;
    tiny_check(kl_threads_choose(tiny.model, cpus, &options, &threads, &err), &err);
    return threads;
}

static void test_as_asked_for(void **state)
{
    (void)state;
    struct kl_threads t = choose(&two, (struct kl_threads_options){.decode = 3, .measure = true});
    assert_true(t.decode == 3 && t.prefill == 3);
    t = choose(&two, (struct kl_threads_options){.decode = 1, .prefill = 4, .measure = true});
    assert_true(t.decode == 1 && t.prefill == 4);
    t = choose(&two, (struct kl_threads_options){.prefill = 1});
    assert_true(t.decode == 2 && t.prefill == 1);
    assert_int_equal(measured, 0);
}

static int n_remembered;

static int count(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    n_remembered += flag == FTW_F && strstr(path, "/threads/") != NULL;
    return 0;
}

static bool is_remembered(void)
{
    n_remembered = 0;
    assert_int_equal(nftw(fake_root, count, 8, FTW_PHYS), 0);
    return n_remembered > 0;
}

static void test_measured_once_and_remembered(void **state)
{
    (void)state;
    const struct kl_threads_options options = {.measure = true};
    struct kl_threads first = choose(&two, options);
    assert_int_equal(measured, 2 * ROUNDS);
    assert_true(first.decode >= 1 && first.decode <= 2);
    assert_true(first.prefill >= 1 && first.prefill <= 2);
    if (is_remembered()) { /* unless the computer is busy and fewer threads won */
        struct kl_threads again = choose(&two, options);
        assert_int_equal(measured, 0);
        assert_true(again.decode == first.decode && again.prefill == first.prefill);
    } else {
        assert_true(first.decode == 2 && first.prefill == 2);
    }

    /* another set of CPUs is measured again; for one CPU there is no choice */
    struct kl_cpus other = two;
    other.threads = 3;
    choose(&other, options);
    assert_int_equal(measured, 3 * ROUNDS);
    other.threads = 1;
    first = choose(&other, options);
    assert_int_equal(measured, 0);
    assert_true(first.decode == 1 && first.prefill == 1);
}

/* Overwrites the only file of the directory. */
static int overwrite(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (flag == FTW_F && strstr(path, "/threads/") != NULL) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs("decode 7\nprefill 1\n", f);
        fclose(f);
    }
    return 0;
}

static void test_nonsense_is_not_remembered(void **state)
{
    (void)state;
    assert_int_equal(nftw(fake_root, overwrite, 8, FTW_PHYS), 0);
    struct kl_threads t = choose(&two, (struct kl_threads_options){.measure = true});
    assert_int_equal(measured, 2 * ROUNDS);
    assert_true(t.decode <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_fewer_must_be_clearly_faster),
        cmocka_unit_test(test_a_busy_computer_proves_nothing),
        cmocka_unit_test(test_as_asked_for),
        cmocka_unit_test(test_measured_once_and_remembered),
        cmocka_unit_test(test_nonsense_is_not_remembered),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
