/*
 * A thread for work that would keep an event loop from its sockets: encoding a prompt, compiling a
 * schema, reading a file.
 *
 * A job is cut into slices, bounded pieces of work. The owners of jobs take turns, slice by slice,
 * and so do the jobs of one owner: a job of one slice waits for about one slice of each other
 * owner, however many jobs these have. The memory of jobs that have begun is bounded: a job that
 * does not fit waits until others are done. Smaller jobs may pass it meanwhile, but only as many as
 * leave room for it, so that it does not wait for ever; a job larger than the bound runs alone. The
 * thread has a lower priority than all others.
 *
 * Thread rule: one thread, the loop's, calls all functions; only `slice` runs on the worker's. A
 * job is the caller's storage and stays valid until its `done` was called. That happens exactly
 * once per job, in kl_worker_collect or kl_worker_close, also for cancelled jobs. Only
 * kl_worker_close waits for a slice, and no lock is held across one. The number of jobs is not
 * limited here: each belongs to a request that was admitted.
 */
#ifndef KL_BASE_WORKER_H
#define KL_BASE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_worker;

/* Owners with equal words are the same; all zero is an owner, too. */
struct kl_job_owner {
    uint64_t words[3];
};

struct kl_job {
    /* set by the caller before the submit */
    bool (*slice)(struct kl_job *job); /* true: the job is finished */
    void (*done)(struct kl_job *job);  /* gives the job back to the caller */
    struct kl_job_owner owner;
    size_t bytes; /* the most memory that it needs from its first slice to its last */

    /* Set by kl_worker_cancel and _close: the job only frees what it holds. A long slice may check
     * it and end early. */
    _Atomic(bool) cancelled;

    /* the worker's */
    uint64_t owner_turn, turn; /* of the last slice of the owner, and of this job */
    bool begun;
    struct kl_job *previous, *next;
};

/* Starts the thread. max_bytes: of all jobs that have begun together. */
enum kl_status kl_worker_open(size_t max_bytes, struct kl_worker **worker, struct kl_error *err);

/* Ends the thread after the present slice, cancels all jobs and calls their `done`. NULL is
 * allowed. */
void kl_worker_close(struct kl_worker *worker);

void kl_worker_submit(struct kl_worker *worker, struct kl_job *job);

/* Cancels a job. One that has not begun is done at once; one that has begun gets one more slice,
 * before all other jobs, to free what takes time to free. Only before its `done`; may be called
 * again. */
void kl_worker_cancel(struct kl_worker *worker, struct kl_job *job);

/* kl_worker_fd: a descriptor that is readable when jobs have ended. kl_worker_collect calls their
 * `done`, in the order in which they ended. */
int kl_worker_fd(const struct kl_worker *worker);
void kl_worker_collect(struct kl_worker *worker);

#endif
