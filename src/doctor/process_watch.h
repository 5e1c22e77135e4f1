/*
 * Looks at the threads of a running process, any process, for a short while: what each of them
 * does, how often it waits and for what. Reads /proc (proc(5)) and changes nothing.
 *
 * What a thread waits in (a futex, or something else) is /proc/PID/task/TID/syscall, which the
 * kernel shows to those only who might trace the process: root, or its user where
 * kernel.yama.ptrace_scope is 0.
 */
#ifndef KL_DOCTOR_PROCESS_WATCH_H
#define KL_DOCTOR_PROCESS_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define KL_WATCH_MAX_THREADS 2048 /* more that come are counted and not looked at */

struct kl_watched_thread {
    int id;
    char name[24];
    bool there_at_first, there_at_last;
    double user, kernel; /* seconds on a CPU */
    double waited;       /* seconds it wanted to run and had no CPU */
    double voluntary;    /* context switches: it waited for something, */
    double involuntary;  /* or it was put aside */
    /* looks in which it was there; wanted to run; waited in a system call; in a futex */
    size_t n_seen, n_runnable, n_waiting, n_futex;
};

struct kl_process_watch {
    int pid;
    char name[24];
    double seconds; /* that it was watched */
    size_t n_looks;
    bool waits_known;                /* n_futex may be believed */
    bool ended;                      /* the process ended meanwhile */
    double user, kernel;             /* seconds on a CPU of all threads, also of those that ended */
    double major_faults;             /* pages read from a disk */
    double cpus;                     /* it may use: by its affinity and its control groups */
    double resident, swapped, limit; /* bytes; limit of its control groups, 0: none */
    size_t n_came;                   /* threads that began meanwhile, as far as they were seen */
    struct kl_watched_thread threads[KL_WATCH_MAX_THREADS];
    size_t n_threads;
};

/* Watches for so many seconds. root: as in system_files.h. KL_ERR_NOT_FOUND: there is no such
 * process. */
enum kl_status kl_process_watch(const char *root, int pid, double seconds,
                                struct kl_process_watch *watch, struct kl_error *err);

#endif
