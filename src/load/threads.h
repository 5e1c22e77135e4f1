/*
 * Chooses how many threads compute: as the user says, as an earlier start measured, as this start
 * measures, or one for each CPU.
 *
 * Decoding is limited by memory bandwidth, which a few cores may use up, and prefill by arithmetic,
 * so there are two numbers. The first start measures both with the real model and keeps the result
 * in $XDG_CACHE_HOME/kinglet/threads, in a file for each model, processor and set of CPUs.
 */
#ifndef KL_LOAD_THREADS_H
#define KL_LOAD_THREADS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cpus.h"
#include "base/error.h"
#include "model/model.h"

struct kl_threads_options {
    size_t decode, prefill; /* as the user says; 0: nothing said */
    bool measure;           /* if no earlier result is kept */
    /* Called in the same thread before each of `total` turns of a measurement, or NULL. */
    void (*notify)(void *context, size_t done, size_t total);
    void *context;
};

/* Fills *threads and logs the choice and its reason. Fails only if there is no memory for the
 * measurement. */
enum kl_status kl_threads_choose(const struct kl_model *model, const struct kl_cpus *cpus,
                                 const struct kl_threads_options *options,
                                 struct kl_threads *threads, struct kl_error *err);

/* The speed with one number of threads. */
struct kl_threads_speed {
    size_t threads;
    double decode, prefill; /* tokens/s; 0: not measured */
    double share; /* the part of that many CPUs that this process received, at best; 1: all */
};

/* Fills out with the numbers worth measuring, ascending: the powers of two, the number of physical
 * cores, and the number of all CPUs. Returns how many there are. */
#define KL_THREADS_MAX_CANDIDATES 9
size_t kl_threads_candidates(const struct kl_cpus *cpus, size_t out[KL_THREADS_MAX_CANDIDATES]);

/* Chooses from measured speeds [n], ascending by threads: the most threads, unless fewer are
 * clearly faster. Pure. */
struct kl_threads kl_threads_best(const struct kl_threads_speed *speeds, size_t n);

/* Whether fewer threads may have been faster only because other programs used the CPUs meanwhile.
 * Then it is better to use all, and to measure again at the next start. Pure. */
bool kl_threads_were_disturbed(const struct kl_threads_speed *speeds, size_t n,
                               struct kl_threads best);

/* Opens the directory of files with what was measured on this computer; -1: there is none.
 * make: it is created. */
int kl_threads_open_dir(bool make);

#endif
