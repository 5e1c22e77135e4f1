/*
 * Which request begins, and which rows go into the next step: pure functions of the state, without
 * clock, threads or memory.
 *
 * Every running request has a place and a level; a lower level goes first. Only the lowest level
 * that has a place which is not paused gets rows, so that the others yield at once and keep their
 * state. Within a level a step takes one row of each request that decodes, always, and beside them
 * prompt rows, shared evenly among the requests that still read their prompt; what does not divide
 * goes to the one that was admitted first. A paused place gets nothing and keeps its state.
 */
#ifndef KL_ENGINE_SCHEDULER_H
#define KL_ENGINE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_MAX_PARALLEL 64

enum kl_place_state { KL_PLACE_FREE, KL_PLACE_PREFILL, KL_PLACE_DECODE };

struct kl_place {
    enum kl_place_state state;
    unsigned level; /* the lower goes first */
    bool paused;
    uint64_t order;   /* admission: the lower came first; unique among the places in use */
    size_t pages;     /* most pages of the KV cache that it may come to hold */
    size_t remaining; /* PREFILL: prompt tokens not computed yet, at least 1 */
    size_t rows;      /* the answer of kl_schedule_rows */
};

enum kl_admission {
    KL_ADMIT_WAIT,   /* it can not begin now */
    KL_ADMIT_BEGIN,  /* at the place, which is free */
    KL_ADMIT_GIVE_UP /* when the request at the place has given it up; ask again then */
};

/* What is to be done for the first one that waits at a level. It begins when a place is free, its
 * `pages` fit beside what those who run may still come to hold (so nobody who was begun runs out of
 * them), and nobody of a lower level can go on. Those of higher levels give up what it takes, the
 * last admitted of the highest level first, but only if that is enough. Nobody overtakes: within a
 * level requests begin in the order they came. */
enum kl_admission kl_schedule_admission(const struct kl_place *places, size_t n_places,
                                        unsigned level, size_t pages, size_t max_pages,
                                        size_t *place);

/* How many prompt rows may ride with rows that decode, so that no step is much longer than
 * KL_SHARED_STEP_SECONDS: what a row cost lately, in whole tiles; never more than prefill_chunk,
 * and at least a tile, so that prompts get on everywhere. row_seconds 0: nothing was measured. */
#define KL_SHARED_STEP_SECONDS 0.12 /* nobody's text stops for more than 0.15 s, with a reserve */
#define KL_ROW_TILE            8    /* rows that the kernels take at once */
size_t kl_schedule_shared_chunk(double row_seconds, size_t prefill_chunk);

/* Fills rows of every place; returns their sum (0: nothing can run). n_places is at most
 * KL_MAX_PARALLEL. prefill_chunk is for steps in which nobody decodes, shared_chunk for the others;
 * both at least 1. */
size_t kl_schedule_rows(struct kl_place *places, size_t n_places, size_t prefill_chunk,
                        size_t shared_chunk);

/* When will those who wait begin? Requests that run share the machine evenly; when one is done, the
 * first that waits takes its place. running: seconds of work that are left of each, if it were
 * alone; room for n_places, used up. waiting: the same of those who wait, in their order; replaced
 * by the seconds until each begins. */
void kl_schedule_waits(double *running, size_t n_running, size_t n_places, double *waiting,
                       size_t n_waiting);

#endif
