/*
 * How many threads compute: asked for, remembered, measured, or as many as there are.
 *
 * One token is bound by memory, which a few cores may use up, and many tokens by arithmetic, so
 * there are two numbers. The first start measures both with the real model, and keeps the result in
 * $XDG_CACHE_HOME/kinglet/threads, in a file for each model, processor and set of CPUs.
 */
#ifndef KL_LOAD_THREADS_H
#define KL_LOAD_THREADS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cpus.h"
#include "base/error.h"
#include "model/model.h"

struct kl_threads_options {
    size_t decode, prefill;                                /* asked for; 0: not */
    bool measure;                                          /* where nothing is remembered */
    void (*see)(void *context, size_t done, size_t total); /* while it is measured */
    void *context;
};

/* Logs what was chosen and why. Fails only where the measurement can not get its memory. */
enum kl_status kl_threads_choose(const struct kl_model *model, const struct kl_cpus *cpus,
                                 const struct kl_threads_options *options,
                                 struct kl_threads *threads, struct kl_error *err);

/* Tokens/s with a number of threads. */
struct kl_threads_speed {
    size_t threads;
    double decode, prefill; /* 0: not measured */
    double share;           /* of that many CPUs, what this process had of them, at best; 1: all */
};

/* The numbers worth measuring, ascending; returns how many. A power of two each, the physical
 * cores, and all. */
#define KL_THREADS_MAX_CANDIDATES 9
size_t kl_threads_candidates(const struct kl_cpus *cpus, size_t out[KL_THREADS_MAX_CANDIDATES]);

/* Of measured speeds, ascending by threads: the most threads, unless fewer are clearly faster. */
struct kl_threads kl_threads_best(const struct kl_threads_speed *speeds, size_t n);

/* Whether fewer threads may have won only because others used the CPUs meanwhile. Then it is better
 * to take all, and to measure at another start. */
bool kl_threads_were_disturbed(const struct kl_threads_speed *speeds, size_t n,
                               struct kl_threads best);

#endif
