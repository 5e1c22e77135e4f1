/*
 * One thread for what would keep an event loop from its sockets: encoding a prompt, compiling a
 * schema, reading a file.
 *
 * A job is cut into slices, bounded pieces of work. The owners of jobs take turns, slice by slice,
 * and the jobs of one owner take turns among themselves: a job of one slice waits for about one
 * slice of each other owner, however much work these have brought. The memory that jobs need while
 * they are worked on is bounded: one that does not fit waits until others are done, and smaller
 * ones pass it by meanwhile, as many as fit beside it, so that it does not wait for ever; one that
 * is larger than the bound is worked on alone. The thread runs at a lower priority than all others.
 *
 * Thread rule: everything here belongs to one thread, the loop's, but for `slice`, which runs on
 * the worker's. A job is the caller's storage and stays valid until its `done` was called, which
 * happens exactly once for each, in kl_worker_collect or kl_worker_close, also for those that were
 * cancelled. No call but kl_worker_close waits for a slice, and no lock is held across one. How
 * many jobs there may be is not decided here: each stands for something that was admitted.
 */
#ifndef KL_BASE_WORKER_H
#define KL_BASE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_worker;

/* Equal words: the same owner. All zero is one, too. */
struct kl_job_owner {
    uint64_t words[3];
};

struct kl_job {
    /* set by the caller before the submit */
    bool (*slice)(struct kl_job *job); /* true: there is nothing left to do */
    void (*done)(struct kl_job *job);  /* the job is the caller's again */
    struct kl_job_owner owner;
    size_t bytes; /* of memory that it needs from its first slice to its last, at most */

    /* Set by kl_worker_cancel and _close: what there is is to be dropped. A long slice may look,
     * too, and end early. */
    _Atomic(bool) cancelled;

    /* the worker's */
    uint64_t owner_turn, turn; /* when the owner and this job had their last slice */
    bool begun;
    struct kl_job *previous, *next;
};

/* Starts the thread. max_bytes: of the jobs that are begun, together. */
enum kl_status kl_worker_open(size_t max_bytes, struct kl_worker **worker, struct kl_error *err);

/* Ends the thread, after the slice that runs now, and calls `done` of all jobs there are, as
 * cancelled. NULL is allowed. */
void kl_worker_close(struct kl_worker *worker);

void kl_worker_submit(struct kl_worker *worker, struct kl_job *job);

/* A job that was not begun is done. One that was gets one more slice, before all others, in which
 * it drops what takes time to drop. Only before its `done`; may be called again. */
void kl_worker_cancel(struct kl_worker *worker, struct kl_job *job);

/* A descriptor that is readable when jobs are done; kl_worker_collect calls their `done`, in the
 * order they ended. */
int kl_worker_fd(const struct kl_worker *worker);
void kl_worker_collect(struct kl_worker *worker);

#endif
