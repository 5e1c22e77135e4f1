/* src/base/pool.c; to be run under ThreadSanitizer as well */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pool.h"

enum { MOST_ITEMS = 1000, MOST_THREADS = 4 };

/* Plain memory on purpose: the pool alone must order these accesses. */
struct job {
    int input;
    int runs[MOST_ITEMS];
    int output[MOST_ITEMS];
    size_t items_of_worker[MOST_THREADS];
};

static void run_item(void *context, size_t item, size_t worker)
{
    struct job *job = context;
    job->runs[item]++;
    job->output[item] = job->input + (int)item;
    job->items_of_worker[worker]++;
}

static void check_job(struct kl_pool *pool, struct job *job, size_t n_items, int input)
{
    memset(job, 0, sizeof *job);
    job->input = input;
    kl_pool_run(pool, n_items, run_item, job);
    size_t sum = 0;
    for (size_t i = 0; i < MOST_ITEMS; i++) {
        assert_int_equal(job->runs[i], i < n_items ? 1 : 0);
        if (i < n_items)
            assert_int_equal(job->output[i], input + (int)i);
    }
    for (size_t w = 0; w < MOST_THREADS; w++) {
        if (w >= kl_pool_threads(pool))
            assert_int_equal(job->items_of_worker[w], 0);
        sum += job->items_of_worker[w];
    }
    assert_int_equal(sum, n_items);
}

static void runs_every_item_once(void **state)
{
    (void)state;
    static struct job job;
    static const size_t sizes[] = {0, 1, 2, 1000, 3, 1, 0, 7, 64, 2};
    for (size_t threads = 1; threads <= MOST_THREADS; threads++) {
        struct kl_pool *pool;
        assert_int_equal(kl_pool_open(threads, &pool, NULL), KL_OK);
        assert_int_equal(kl_pool_threads(pool), threads);
        for (int round = 0; round < 300; round++) {
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
                check_job(pool, &job, sizes[s], round);
            /* long enough for the workers to fall asleep, each time at another moment */
            if (round % 10 == 0)
                usleep((useconds_t)(round * 5));
        }
        kl_pool_close(pool);
    }
}

static void count_item(void *context, size_t item, size_t worker)
{
    (void)worker;
    uint64_t *sums = context;
    sums[item * 8] += item + 1; /* a cache line each */
}

/* Jobs that are short enough for a thread to arrive when its job is over and the next one runs. */
static void survives_many_short_jobs(void **state)
{
    (void)state;
    enum { JOBS = 20000, ITEMS = 6 };
    for (size_t threads = 2; threads <= MOST_THREADS; threads++) {
        struct kl_pool *pool;
        uint64_t sums[ITEMS * 8] = {0};
        assert_int_equal(kl_pool_open(threads, &pool, NULL), KL_OK);
        for (int job = 0; job < JOBS; job++)
            kl_pool_run(pool, 2 + (size_t)job % (ITEMS - 1), count_item, sums);
        kl_pool_close(pool);
        for (size_t i = 0; i < ITEMS; i++) {
            uint64_t runs = 0;
            for (int job = 0; job < JOBS; job++)
                runs += i < 2 + (size_t)job % (ITEMS - 1);
            assert_true(sums[i * 8] == runs * (i + 1));
        }
    }
}

static void slow_item(void *context, size_t item, size_t worker)
{
    (void)worker;
    if (item == 1)
        usleep(20000);
    atomic_fetch_add((_Atomic(int) *)context, 1);
}

/* The caller runs out of items, spins, sleeps and must be woken by the last item. */
static void waits_for_the_slowest_item(void **state)
{
    (void)state;
    struct kl_pool *pool;
    assert_int_equal(kl_pool_open(3, &pool, NULL), KL_OK);
    for (int round = 0; round < 10; round++) {
        _Atomic(int) done = 0;
        kl_pool_run(pool, 5, slow_item, &done);
        assert_int_equal(done, 5);
    }
    kl_pool_close(pool);
}

static void opens_and_closes_at_any_moment(void **state)
{
    (void)state;
    static struct job job;
    for (int round = 0; round < 100; round++) {
        struct kl_pool *pool;
        assert_int_equal(kl_pool_open(1 + (size_t)round % MOST_THREADS, &pool, NULL), KL_OK);
        if (round % 3 == 1)
            check_job(pool, &job, 10, round);
        if (round % 3 == 2)
            usleep((useconds_t)round * 10);
        kl_pool_close(pool);
    }
    kl_pool_close(NULL);
}

/* Inactive threads take no items. Threads of an earlier job may still be running when the number
 * changes, so only a job that begins after a pause is checked. */
static void lets_threads_rest(void **state)
{
    (void)state;
    static struct job job;
    struct kl_pool *pool;
    assert_int_equal(kl_pool_open(MOST_THREADS, &pool, NULL), KL_OK);
    for (int round = 0; round < 60; round++) {
        size_t active = 1 + (size_t)round % MOST_THREADS;
        kl_pool_set_active(pool, active);
        check_job(pool, &job, MOST_ITEMS, round);
        usleep(3000);
        check_job(pool, &job, MOST_ITEMS, round);
        for (size_t w = active; w < MOST_THREADS; w++)
            assert_int_equal(job.items_of_worker[w], 0);
    }
    kl_pool_set_active(pool, 1);
    kl_pool_close(pool); /* with threads at rest */
}

struct in_order {
    size_t previous[MOST_THREADS], n_steps[MOST_THREADS], in_sequence[MOST_THREADS];
};

static void note_order(void *context, size_t item, size_t worker)
{
    struct in_order *order = context;
    order->in_sequence[worker] += item == order->previous[worker] + 1;
    order->previous[worker] = item;
    order->n_steps[worker]++;
    for (volatile int i = 0; i < 2000; i++) {
    }
}

/* Memory is read fastest as one stream per thread: each active thread takes nearly all of its items
 * in order. */
static void gives_each_thread_a_stream(void **state)
{
    (void)state;
    struct kl_pool *pool;
    struct in_order order = {0};
    assert_int_equal(kl_pool_open(2, &pool, NULL), KL_OK);
    for (int round = 0; round < 20; round++)
        kl_pool_run(pool, MOST_ITEMS, note_order, &order);
    kl_pool_close(pool);
    size_t steps = 0, in_sequence = 0;
    for (size_t w = 0; w < 2; w++) {
        steps += order.n_steps[w];
        in_sequence += order.in_sequence[w];
    }
    assert_int_equal(steps, 20 * MOST_ITEMS);
    /* a thread that was stopped leaves its share to the other, item by item, in order as well */
    assert_true(in_sequence > steps * 8 / 10);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void uses_no_cpu_while_idle(void **state)
{
    (void)state;
    static struct job job;
    struct kl_pool *pool;
    assert_int_equal(kl_pool_open(MOST_THREADS, &pool, NULL), KL_OK);
    check_job(pool, &job, 100, 1);
    double before = cpu_seconds();
    usleep(500000);
    /* one spinning thread alone would have used 0.5 s on an idle machine */
    assert_true(cpu_seconds() - before < 0.1);
    kl_pool_close(pool);
}

static void refuses_impossible_thread_counts(void **state)
{
    (void)state;
    struct kl_pool *pool;
    struct kl_error err = {0};
    assert_int_equal(kl_pool_open(0, &pool, &err), KL_ERR_INVALID);
    assert_null(pool);
    assert_non_null(strstr(err.text, "found 0"));
    assert_int_equal(kl_pool_open(KL_POOL_MAX_THREADS + 1, &pool, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "found 65"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_every_item_once),
        cmocka_unit_test(survives_many_short_jobs),
        cmocka_unit_test(waits_for_the_slowest_item),
        cmocka_unit_test(opens_and_closes_at_any_moment),
        cmocka_unit_test(lets_threads_rest),
        cmocka_unit_test(gives_each_thread_a_stream),
        cmocka_unit_test(uses_no_cpu_while_idle),
        cmocka_unit_test(refuses_impossible_thread_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
