/*
 * How many threads are worth while here: what the affinity mask, the control groups and the kinds
 * of cores say. Linux; elsewhere only the number of processors is known.
 */
#ifndef KL_BASE_CPUS_H
#define KL_BASE_CPUS_H

#include <sched.h>
#include <stddef.h>

struct kl_cpus {
    size_t allowed; /* CPUs in the affinity mask; a cpuset is part of it */
    size_t fast;    /* of these, the ones of the fast kind, where there are several kinds */
    size_t cores;   /* cores that the fast ones are: SMT siblings are one */
    size_t quota;   /* the control groups' CPU time in whole CPUs, rounded up; 0: no limit */
    size_t threads; /* what to use: fast, not more than quota and KL_POOL_MAX_THREADS; 1 or more */
    char model[64]; /* the processor's name, or "" */
};

/* root: "" for this computer, or a directory with copies of proc/ and sys/; allowed: the affinity
 * mask, or NULL to ask for this process's. */
void kl_cpus_read(const char *root, const cpu_set_t *allowed, struct kl_cpus *cpus);

/* The CPU time that its control groups give a process ("self" or a number), in CPUs; HUGE_VAL: no
 * limit. */
double kl_cpus_quota(const char *root, const char *process);

/* In words, for the log: "4 of 8 CPUs, the fast ones; ...". */
const char *kl_cpus_text(const struct kl_cpus *cpus, char *out, size_t size);

#endif
