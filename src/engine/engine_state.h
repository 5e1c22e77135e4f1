/*
 * Inside the engine: what its two sides share. engine.c is the client's side and opens and closes;
 * engine_loop.c is the engine thread.
 */
#ifndef KL_ENGINE_ENGINE_STATE_H
#define KL_ENGINE_ENGINE_STATE_H

#include <pthread.h>

#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/statistics.h"

struct kl_request_queue {
    struct kl_request *head, *tail;
};

struct kl_engine {
    const struct kl_tokenizer *tokenizer;
    struct kl_engine_options options;
    size_t n_vocab; /* ids that both the model and the tokenizer know */
    int wake_fd;
    pthread_t thread;
    _Atomic(bool) closing;

    struct kl_wakeup wakeup;       /* its lock guards what follows; never held in a forward pass */
    struct kl_request_queue inbox; /* submitted, not seen by the engine thread yet */
    size_t n_requests;             /* of clients, submitted and not finished */
    size_t n_running;              /* of these */
    struct kl_engine_stats totals; /* the counters */
    struct kl_statistics measured;

    /* the engine thread's */
    struct kl_forward *forward;
    struct kl_kv_cache *kv;
    struct kl_prefix_cache *prefixes;
    struct kl_sampler *sampler;
    struct kl_row *rows;       /* [parallel + prefill_chunk] */
    struct kl_choice *choices; /* [parallel] */
    struct kl_logit *found;    /* [parallel][n_found] what the choices hold */
    size_t n_found;
    struct kl_seen seen[KL_MAX_PARALLEL]; /* of the request at a slot */
    uint64_t *seen_bits;                  /* [parallel][seen_words] */
    size_t seen_words;
    struct kl_request_queue waiting[KL_N_LEVELS]; /* in the order they came */
    double *waits;          /* [queue_size + parallel + 1] seconds, of clients' requests */
    bool waits_changed;     /* a request came, began or left since they were computed */
    uint64_t waits_told_ns; /* when that was */
    struct kl_slot slots[KL_MAX_PARALLEL];
    struct kl_request *running[KL_MAX_PARALLEL]; /* NULL: a free slot */
    uint64_t n_admitted;
    size_t max_pages;       /* that requests may be promised */
    size_t max_pages_idle;  /* the same of those that are not interactive */
    unsigned step_level;    /* of the requests in the running step */
    unsigned blocked_level; /* of the first that waits and can not begin; KL_N_LEVELS: nobody */
    bool has_events;        /* the client is to be woken */
    bool has_yielded;       /* the last pass was given up for somebody of a lower level */
    bool was_aborted;       /* or because somebody's end came; nobody is admitted beside the others
                             * until a pass is completed */
};

void kl_queue_append(struct kl_request_queue *queue, struct kl_request *request);

/* The engine thread; argument: the engine. */
void *kl_engine_main(void *argument);

#endif
