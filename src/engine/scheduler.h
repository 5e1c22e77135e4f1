/*
 * Decides which request starts, and which rows go into the next step.
 *
 * Pure functions of the slots, without clock, threads or memory; the engine thread calls them.
 *
 * A slot holds one running request, which has a level: the order of the scheduler. Lower levels go
 * first. Only the lowest level with a slot that is not paused gets rows; the others keep their
 * state. A step takes one row of each request of that level that decodes and, in addition, prompt
 * rows, shared evenly among the requests of that level that are still in prefill; the remainder
 * goes to the request that started first. Tokens that follow an answer for certain are shared like
 * those of a prompt. A paused slot gets no rows.
 *
 * The scheduler knows nothing of requests, tokens or clients, and preempts nothing itself: it says
 * which slot to preempt.
 */
#ifndef KL_ENGINE_SCHEDULER_H
#define KL_ENGINE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_MAX_PARALLEL 64

enum kl_slot_state { KL_SLOT_FREE, KL_SLOT_PREFILL, KL_SLOT_DECODE };

struct kl_slot {
    enum kl_slot_state state;
    unsigned level; /* lower goes first */
    bool paused;
    uint64_t order;   /* lower started first; unique among the slots in use */
    size_t pages;     /* most pages of the KV cache that its request may hold */
    size_t remaining; /* tokens not computed yet, at least 1 */
    size_t rows;      /* set by kl_schedule_rows: rows in the next step */
};

enum kl_start {
    KL_START_WAIT,   /* the request cannot start now */
    KL_START_NOW,    /* in *slot, which is free */
    KL_START_PREEMPT /* preempt the request in *slot, then ask again */
};

/* Decides about the first request in the queue of a level. It starts when a slot is free, its
 * `pages` fit next to the most that running requests may hold (so a running request never lacks
 * pages), and no slot of a lower level can go on. Requests of higher levels are preempted for it,
 * the last started of the highest level first, but only if that makes enough room. Within a level
 * requests start in the order in which they came. */
enum kl_start kl_schedule_start(const struct kl_slot *slots, size_t n_slots, unsigned level,
                                size_t pages, size_t max_pages, size_t *slot);

/* Returns how many prompt rows a step may have in which other requests decode, so that it takes
 * about KL_SHARED_STEP_SECONDS: a multiple of KL_ROW_TILE, at least one tile (so that prompts make
 * progress on slow machines, too), at most prefill_chunk. row_seconds: the recent cost of a prompt
 * row; 0: not measured yet. */
#define KL_SHARED_STEP_SECONDS 0.12 /* text pauses for at most 0.15 s, with a reserve */
#define KL_ROW_TILE            8    /* rows that the kernels compute together */
size_t kl_schedule_shared_chunk(double row_seconds, size_t prefill_chunk);

/* Sets the rows of every slot and returns their sum; 0: nothing can run. n_slots is at most
 * KL_MAX_PARALLEL. The prompt rows of a step are at most prefill_chunk if no request decodes in it,
 * otherwise shared_chunk; both are at least 1. */
size_t kl_schedule_rows(struct kl_slot *slots, size_t n_slots, size_t prefill_chunk,
                        size_t shared_chunk);

/* Estimates when queued requests will start, if running requests share the machine evenly and each
 * that ends makes room for the first in the queue. running: [n_slots], of which n_running are set:
 * seconds of work left for each request if it ran alone; overwritten. waiting: [n_waiting] the same
 * for the queued requests in their order; replaced by the seconds until each starts. */
void kl_schedule_waits(double *running, size_t n_running, size_t n_slots, double *waiting,
                       size_t n_waiting);

#endif
