/*
 * Watches the threads of any running process for a short time: CPU use, waits, and what they wait
 * for. Reads /proc (proc(5)) and changes nothing; judges nothing.
 *
 * Whether a thread waits in a futex is in /proc/PID/task/TID/syscall, which the kernel shows only
 * to processes that may trace this one: those of root, or of its user if kernel.yama.ptrace_scope
 * is 0.
 */
#ifndef KL_DOCTOR_PROCESS_WATCH_H
#define KL_DOCTOR_PROCESS_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define KL_WATCH_MAX_THREADS 2048 /* further ones are counted but not watched */

struct kl_watched_thread {
    int id;
    char name[24];
    bool there_at_first, there_at_last;
    double user, kernel; /* seconds on a CPU, to the hundredth */
    double ran;          /* the same to the nanosecond; 0: not known */
    double waited;       /* seconds it wanted to run and had no CPU */
    double voluntary;    /* context switches: it waited, */
    double involuntary;  /* or it was preempted, or called sched_yield */
    /* samples in which it existed; was runnable; waited in a system call; in a futex */
    size_t n_seen, n_runnable, n_waiting, n_futex;
};

struct kl_process_watch {
    int pid;
    char name[24];
    double seconds; /* of the watch */
    size_t n_looks;
    bool waits_known;                /* n_waiting and n_futex are valid */
    bool ended;                      /* the process ended during the watch */
    double user, kernel;             /* seconds on a CPU, of all threads, ended ones included */
    double major_faults;             /* pages read from a disk */
    double cpus;                     /* that it may use, by affinity and control groups */
    double resident, swapped, limit; /* bytes; limit: of its control groups, 0: none */
    size_t n_came;                   /* threads that began during the watch, if seen */
    struct kl_watched_thread threads[KL_WATCH_MAX_THREADS];
    size_t n_threads;
};

/* Watches a process for `seconds`. root: as in base/system_files.h. KL_ERR_NOT_FOUND: there is no
 * such process. Uses static storage: one thread at a time. */
enum kl_status kl_process_watch(const char *root, int pid, double seconds,
                                struct kl_process_watch *watch, struct kl_error *err);

#endif
