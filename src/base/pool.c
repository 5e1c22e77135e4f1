#include "base/pool.h"

#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a thread spins before it sleeps. A pause is 40 to 140 cycles on x86 and about 1 on
 * ARM's yield; 2000 of them are some tens of microseconds: the longest time between two steps of a
 * layer, and far below what a neighbour would notice. */
enum { SPIN_LIMIT = 2000 };

/* The ticket word says everything a thread must know to take an item, in one atomic value:
 *   generation (24 bits) | items in the job (20 bits) | next item (20 bits).
 * A fetch_add takes an item. A thread that comes late gets a ticket of the job that runs now, or
 * one past its end, but never an item of a finished job: so the caller does not have to wait for
 * every thread to notice that a job is over. The job's fn and context are only read by those that
 * hold a valid ticket, and cannot change while such an item is unfinished. */
#define TICKET_ITEM_BITS  20
#define TICKET_ITEM_MASK  (((uint64_t)1 << TICKET_ITEM_BITS) - 1)
#define TICKET_ITEM(t)    ((size_t)((t)&TICKET_ITEM_MASK))
#define TICKET_ITEMS(t)   ((size_t)(((t) >> TICKET_ITEM_BITS) & TICKET_ITEM_MASK))
#define TICKET_GENERATION ((uint64_t)1 << (2 * TICKET_ITEM_BITS))

struct worker {
    struct kl_pool *pool;
    size_t index;
    pthread_t thread;
};

struct kl_pool {
    _Alignas(64) _Atomic(uint64_t) ticket;
    _Alignas(64) _Atomic(uint32_t) done;  /* finished items of the job */
    _Alignas(64) _Atomic(uint32_t) epoch; /* futex of the sleeping workers; one step per job */
    _Atomic(uint32_t) sleepers;
    _Atomic(uint32_t) caller_sleeps;
    _Atomic(uint32_t) stop;
    kl_pool_fn *fn;
    void *context;
    size_t n_threads;
    struct worker workers[KL_POOL_MAX_THREADS];
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void futex_wait(_Atomic(uint32_t) *word, uint32_t expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic(uint32_t) *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static bool items_left(uint64_t ticket)
{
    return TICKET_ITEM(ticket) < TICKET_ITEMS(ticket);
}

/* Takes and runs items until the job has none left. */
static void work(struct kl_pool *pool, size_t worker)
{
    /* look before taking: the item counter must not run over into the fields above it */
    while (items_left(atomic_load_explicit(&pool->ticket, memory_order_relaxed))) {
        uint64_t ticket = atomic_fetch_add_explicit(&pool->ticket, 1, memory_order_acquire);
        if (!items_left(ticket))
            return;
        size_t n_items = TICKET_ITEMS(ticket);
        pool->fn(pool->context, TICKET_ITEM(ticket), worker);
        uint32_t done = atomic_fetch_add(&pool->done, 1) + 1;
        if (done == n_items && atomic_load(&pool->caller_sleeps) != 0)
            futex_wake(&pool->done, 1);
    }
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    struct kl_pool *pool = self->pool;
    uint32_t seen = 0;
    for (;;) {
        uint32_t epoch = atomic_load_explicit(&pool->epoch, memory_order_acquire);
        for (int spin = 0; epoch == seen && spin < SPIN_LIMIT; spin++) {
            cpu_relax();
            epoch = atomic_load_explicit(&pool->epoch, memory_order_acquire);
        }
        if (epoch == seen) {
            atomic_fetch_add(&pool->sleepers, 1);
            /* returns at once if the epoch moved meanwhile */
            futex_wait(&pool->epoch, seen);
            atomic_fetch_sub(&pool->sleepers, 1);
            continue;
        }
        seen = epoch;
        if (atomic_load(&pool->stop) != 0)
            return NULL;
        work(pool, self->index);
    }
}

static void next_epoch(struct kl_pool *pool)
{
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->sleepers) != 0)
        futex_wake(&pool->epoch, (int)pool->n_threads);
}

void kl_pool_run(struct kl_pool *pool, size_t n_items, kl_pool_fn *fn, void *context)
{
    assert(n_items <= KL_POOL_MAX_ITEMS);
    if (pool->n_threads == 1 || n_items <= 1) {
        for (size_t i = 0; i < n_items; i++)
            fn(context, i, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    uint64_t generation =
        atomic_load_explicit(&pool->ticket, memory_order_relaxed) & ~(TICKET_GENERATION - 1);
    uint64_t ticket = (generation + TICKET_GENERATION) | (uint64_t)n_items << TICKET_ITEM_BITS;
    atomic_store_explicit(&pool->ticket, ticket, memory_order_release);
    next_epoch(pool);
    work(pool, 0);

    for (int spin = 0;; spin++) {
        uint32_t done = atomic_load_explicit(&pool->done, memory_order_acquire);
        if (done == n_items)
            return;
        if (spin < SPIN_LIMIT) {
            cpu_relax();
            continue;
        }
        atomic_store(&pool->caller_sleeps, 1);
        done = atomic_load(&pool->done);
        if (done != n_items)
            futex_wait(&pool->done, done);
        atomic_store(&pool->caller_sleeps, 0);
    }
}

size_t kl_pool_threads(const struct kl_pool *pool)
{
    return pool->n_threads;
}

enum kl_status kl_pool_open(size_t n_threads, struct kl_pool **out, struct kl_error *err)
{
    *out = NULL;
    if (n_threads == 0 || n_threads > KL_POOL_MAX_THREADS)
        return kl_fail(err, KL_ERR_INVALID, "threads: expected 1 to %d, found %zu",
                       KL_POOL_MAX_THREADS, n_threads);
    struct kl_pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool == NULL)
        return kl_fail_memory(err, "the thread pool", sizeof *pool);
    *pool = (struct kl_pool){.n_threads = 1};

    /* signals are the main thread's business */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    enum kl_status status = KL_OK;
    for (size_t i = 1; i < n_threads; i++) {
        struct worker *w = &pool->workers[i];
        *w = (struct worker){.pool = pool, .index = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            status = kl_fail(err, KL_ERR_MEMORY, "thread %zu of %zu could not be started", i + 1,
                             n_threads);
            break;
        }
        pool->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (status != KL_OK) {
        kl_pool_close(pool);
        return status;
    }
    *out = pool;
    return KL_OK;
}

void kl_pool_close(struct kl_pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->stop, 1);
    next_epoch(pool);
    for (size_t i = 1; i < pool->n_threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool);
}

/* Reads "max period" or two files; 0 when there is no limit. */
static size_t quota_from(const char *quota_path, const char *period_path)
{
    double quota = 0, period = 0;
    FILE *f = fopen(quota_path, "re");
    if (f == NULL)
        return 0;
    int n = fscanf(f, "%lf %lf", &quota, &period); /* "max" reads as nothing: no limit */
    fclose(f);
    if (n == 1 && period_path != NULL) {
        f = fopen(period_path, "re");
        if (f == NULL)
            return 0;
        n = fscanf(f, "%lf", &period) == 1 ? 2 : 1;
        fclose(f);
    }
    if (n != 2 || quota <= 0 || period <= 0)
        return 0;
    size_t cpus = (size_t)((quota + period - 1) / period);
    return cpus > 0 ? cpus : 1;
}

size_t kl_usable_cpus(void)
{
    cpu_set_t set;
    size_t cpus = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        cpus = (size_t)CPU_COUNT(&set);
    size_t quota = quota_from("/sys/fs/cgroup/cpu.max", NULL);
    if (quota == 0)
        quota = quota_from("/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                           "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (quota > 0 && quota < cpus)
        cpus = quota;
    return cpus < KL_POOL_MAX_THREADS ? cpus : KL_POOL_MAX_THREADS;
}
