/*
 * A pool of threads that run one job at a time, split into items.
 *
 * Each thread works through a share of the items in order, then takes items that are left in the
 * shares of others: a thread whose core is taken by another program delays the job by one item and
 * not by its share. The caller works too and returns when every item is done. Waiting is a short
 * spin, then a futex: an idle pool uses no CPU.
 *
 * One thread at a time calls the functions (the engine thread, or a command). The pool knows no
 * priorities and no cancelling; base/worker.h has long jobs of many owners.
 */
#ifndef KL_BASE_POOL_H
#define KL_BASE_POOL_H

#include <stddef.h>

#include "base/error.h"

#define KL_POOL_MAX_THREADS 64
#define KL_POOL_MAX_ITEMS   ((size_t)1 << 19)

struct kl_pool;

/* n_threads, 1 to KL_POOL_MAX_THREADS, counts the caller: 1 starts no thread. */
enum kl_status kl_pool_open(size_t n_threads, struct kl_pool **pool, struct kl_error *err);
void kl_pool_close(struct kl_pool *pool);

size_t kl_pool_threads(const struct kl_pool *pool);

/* Sets the number of threads that take part from the next job on, 1..n; the others sleep. At first
 * all do. (Reading weights may be fastest with fewer threads than computing.) */
void kl_pool_set_active(struct kl_pool *pool, size_t n_threads);

/* worker: 0 for the caller, 1..n-1 for the others; for per-thread scratch memory. */
typedef void kl_pool_fn(void *context, size_t item, size_t worker);

/* Runs fn once for each item 0..n_items-1, in any order; n_items <= KL_POOL_MAX_ITEMS. Items see
 * all writes made before the call, and the caller sees the writes of all items after it. */
void kl_pool_run(struct kl_pool *pool, size_t n_items, kl_pool_fn *fn, void *context);

#endif
