/*
 * Which rows go into the next step: a pure function of the state, without clock, threads or memory.
 *
 * Every running request has a place. A step takes one row of each request that decodes, always,
 * and beside them up to prefill_chunk prompt rows, shared evenly among the requests that still
 * read their prompt; what does not divide goes to the one that was admitted first. A paused place
 * gets nothing and keeps its state.
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
    bool paused;
    uint64_t order;   /* admission: the lower came first; unique among the places in use */
    size_t pages;     /* most pages of the KV cache that it may come to hold */
    size_t remaining; /* PREFILL: prompt tokens not computed yet, at least 1 */
    size_t rows;      /* the answer of kl_schedule_rows */
};

/* The free place the head of the queue goes to; n_places when there is none, or when its `pages`
 * do not fit beside what those who run may still come to hold (so nobody who was begun runs out of
 * them). Nobody overtakes: requests start in the order they came. */
size_t kl_schedule_place(const struct kl_place *places, size_t n_places, size_t pages,
                         size_t max_pages);

/* Fills rows of every place; returns their sum (0: nothing can run). n_places is at most
 * KL_MAX_PARALLEL, prefill_chunk at least 1. */
size_t kl_schedule_rows(struct kl_place *places, size_t n_places, size_t prefill_chunk);

/* When will those who wait begin? Requests that run share the machine evenly; when one is done, the
 * first that waits takes its place. running: seconds of work that are left of each, if it were
 * alone; room for n_places, used up. waiting: the same of those who wait, in their order;
 * replaced by the seconds until each begins. */
void kl_schedule_waits(double *running, size_t n_running, size_t n_places, double *waiting,
                       size_t n_waiting);

#endif
