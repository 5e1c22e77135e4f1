#include "base/pool.h"

#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/thread.h"

/* How long a thread spins before it sleeps. A pause is 40 to 140 cycles on x86 and about 1 on
 * ARM's yield; 2000 of them are some tens of microseconds: the longest time between two steps of a
 * layer, and too short to disturb other programs. */
enum { SPIN_LIMIT = 2000 };

/* Each thread begins with a share of the items, in order, so that it reads memory as one stream; a
 * thread that has finished its own share takes items from the others, one by one. A share is one
 * atomic word with all that a thread must know to take an item:
 *   generation (24 bits) | end of the share (20 bits) | next item (20 bits).
 * A fetch_add takes an item. A thread that comes late gets an item of the job that runs now, or one
 * past the end, but never an item of a finished job: so the caller does not have to wait for every
 * thread to notice that a job is over. Only threads that hold an item read the job's fn and
 * context, and cannot change before such an item is counted as done. */
#define SHARE_ITEM_BITS  20
#define SHARE_ITEM_MASK  (((uint64_t)1 << SHARE_ITEM_BITS) - 1)
#define SHARE_NEXT(s)    ((size_t)((s)&SHARE_ITEM_MASK))
#define SHARE_END(s)     ((size_t)(((s) >> SHARE_ITEM_BITS) & SHARE_ITEM_MASK))
#define SHARE_GENERATION ((uint64_t)1 << (2 * SHARE_ITEM_BITS))

struct share {
    _Alignas(64) _Atomic(uint64_t) word; /* a cache line of its own */
};

struct worker {
    struct kl_pool *pool;
    size_t index;
    pthread_t thread;
};

struct kl_pool {
    struct share shares[KL_POOL_MAX_THREADS];
    _Alignas(64) _Atomic(uint32_t) done;  /* items of the job that are finished and reported */
    _Alignas(64) _Atomic(uint32_t) epoch; /* futex of the sleeping workers; one step per job */
    _Atomic(uint32_t) sleepers;
    _Atomic(uint32_t) caller_sleeps;
    _Atomic(uint32_t) active; /* threads that take part; futex of those that do not */
    _Atomic(uint32_t) stop;
    kl_pool_fn *fn;
    void *context;
    uint64_t generation;
    size_t n_items;
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

static bool items_left(uint64_t share)
{
    return SHARE_NEXT(share) < SHARE_END(share);
}

/* Runs the remaining items of one share and returns their number. */
static uint32_t run_share(struct kl_pool *pool, struct share *share, size_t worker)
{
    uint32_t n = 0;
    /* check before taking: the item counter must not overflow into the fields above it */
    while (items_left(atomic_load_explicit(&share->word, memory_order_relaxed))) {
        uint64_t taken = atomic_fetch_add_explicit(&share->word, 1, memory_order_acquire);
        if (!items_left(taken))
            break;
        pool->fn(pool->context, SHARE_NEXT(taken), worker);
        n++;
    }
    return n;
}

/* Takes and runs items until the job has none left. They are reported as done once, at the end:
 * until then the job cannot end, so no item counted here belongs to another job. */
static void work(struct kl_pool *pool, size_t worker)
{
    uint32_t n = 0;
    for (size_t i = 0; i < pool->n_threads; i++)
        n += run_share(pool, &pool->shares[(worker + i) % pool->n_threads], worker);
    if (n == 0)
        return;
    size_t n_items = pool->n_items;
    uint32_t done = atomic_fetch_add(&pool->done, n) + n;
    if (done == n_items && atomic_load(&pool->caller_sleeps) != 0)
        futex_wake(&pool->done, 1);
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    struct kl_pool *pool = self->pool;
    uint32_t seen = 0;
    for (;;) {
        uint32_t active = atomic_load(&pool->active);
        if (self->index >= active) {
            futex_wait(&pool->active, active);
            continue;
        }
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
        if (self->index <
            atomic_load(&pool->active)) /* it may have changed while this thread was spinning */
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
    size_t active = atomic_load_explicit(&pool->active, memory_order_relaxed);
    if (active == 1 || n_items <= 1) {
        for (size_t i = 0; i < n_items; i++)
            fn(context, i, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->n_items = n_items;
    pool->generation += SHARE_GENERATION;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    for (size_t i = 0; i < active; i++) {
        uint64_t begin = n_items * i / active, end = n_items * (i + 1) / active;
        atomic_store_explicit(&pool->shares[i].word,
                              pool->generation | end << SHARE_ITEM_BITS | begin,
                              memory_order_release);
    }
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

void kl_pool_set_active(struct kl_pool *pool, size_t n_threads)
{
    assert(n_threads > 0 && n_threads <= pool->n_threads);
    if (atomic_exchange(&pool->active, (uint32_t)n_threads) != n_threads)
        futex_wake(&pool->active, (int)pool->n_threads);
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
    *pool = (struct kl_pool){.n_threads = 1, .active = 1};

    enum kl_status status = KL_OK;
    for (size_t i = 1; i < n_threads; i++) {
        struct worker *w = &pool->workers[i];
        *w = (struct worker){.pool = pool, .index = i};
        if (kl_thread_start(&w->thread, worker_main, w) != 0) {
            status = kl_fail(err, KL_ERR_MEMORY, "thread %zu of %zu could not be started", i + 1,
                             n_threads);
            break;
        }
        pool->n_threads++;
    }
    kl_pool_set_active(pool, pool->n_threads);
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
    kl_pool_set_active(pool, pool->n_threads);
    next_epoch(pool);
    for (size_t i = 1; i < pool->n_threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool);
}
