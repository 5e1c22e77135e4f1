/*
 * How many threads this computer is good for, from the affinity mask, the control groups and the
 * kinds of cores. Linux; elsewhere only the number of processors is known.
 *
 * Pure readers: any thread. base/pool.h starts the threads, load/threads.h measures them.
 */
#ifndef KL_BASE_CPUS_H
#define KL_BASE_CPUS_H

#include <sched.h>
#include <stddef.h>

struct kl_cpus {
    size_t allowed; /* CPUs in the affinity mask; a cpuset is part of it */
    size_t fast;    /* of these, those of the fast kind, where there are several kinds */
    size_t cores;   /* the fast ones, SMT siblings counted once */
    size_t quota;   /* CPU time that the control groups allow, in CPUs, rounded up; 0: no limit */
    size_t threads; /* to use: fast, but at most quota and KL_POOL_MAX_THREADS; at least 1 */
    char model[64]; /* the processor's name, or "" */
};

/* root: as in base/system_files.h. allowed: the affinity mask; NULL: that of this process. */
void kl_cpus_read(const char *root, const cpu_set_t *allowed, struct kl_cpus *cpus);

/* Returns the CPU time that the control groups of a process ("self" or a number) allow, in CPUs;
 * HUGE_VAL: no limit. */
double kl_cpus_quota(const char *root, const char *process);

/* Describes them for the log: "4 of 8 CPUs, the fast ones; ...". Returns out. */
const char *kl_cpus_text(const struct kl_cpus *cpus, char *out, size_t size);

#endif
