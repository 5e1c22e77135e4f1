/*
 * The state of the engine, for the files that make up the engine thread and for engine.c.
 *
 * engine.c opens and closes the engine and is the clients' side. The rest runs in the engine
 * thread, one file per job, each of which only calls those above it:
 *
 *     request, request_events    one request, and its events
 *     embedding                  hidden vectors of its prompt, pooled
 *     engine_counters            counters that clients read
 *     prefix_reuse               pages from the prefix cache, and into it
 *     propose                    guessed tokens for the requests that decode
 *     slots                      requests that run: start, leave, end
 *     queues                     requests that wait: take in, end, start
 *     waits                      how long they will wait
 *     batch, answer              a step's rows; from their candidates to a client's events
 *     engine_step                one step: choose rows, run the pass, deliver
 *     engine_thread              the thread: steps of its engines while there is work
 */
#ifndef KL_ENGINE_ENGINE_STATE_H
#define KL_ENGINE_ENGINE_STATE_H

#include "base/pool.h"
#include "engine/batch.h"
#include "engine/prefix_cache.h"
#include "engine/propose.h"
#include "engine/request_queue.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/statistics.h"
#include "engine/wakeup.h"

struct kl_engine_thread {
    pthread_t thread;
    struct kl_pool *pool; /* lent to the forward passes of all engines */
    _Atomic(bool) closing;
    struct kl_wakeup wakeup;   /* of all engines; its lock guards what they share with clients, and
                                * is never held during a pass */
    pthread_cond_t left;       /* an engine was let go */
    struct kl_engine *arrived; /* under wakeup.lock: opened, not taken in yet */
    /* the thread's own */
    struct kl_engine *engines;  /* in the order of their turns */
    uint64_t waits_computed_ns; /* when their waits were */
};

struct kl_engine {
    /* constant after _open */
    struct kl_engine_thread *thread;
    bool owns_thread;
    const struct kl_tokenizer *tokenizer;
    struct kl_engine_options options;
    size_t n_vocab;              /* ids that both the model and the tokenizer know */
    size_t n_embd;               /* of an embedding */
    size_t max_pages;            /* that interactive requests may reserve */
    size_t max_pages_background; /* that others may: the rest is for the prefix cache */

    _Atomic(bool) closing;
    struct kl_client_wakeup clients;
    struct kl_wakeup *wakeup; /* of the thread; its lock guards what follows */

    /* under wakeup->lock */
    bool has_left;                 /* closing, and not the thread's any more */
    struct kl_request_queue inbox; /* submitted, not taken in by the engine thread yet */
    size_t n_requests;             /* to answer: submitted and not ended */
    size_t n_running;              /* of these: in a slot */
    struct kl_engine_stats totals; /* the counters; the rest of it is filled by kl_engine_stats */
    struct kl_statistics measured;

    /* the engine thread's */
    struct kl_engine *next; /* of the thread's engines */
    struct kl_forward *forward;
    struct kl_kv_cache *kv;
    struct kl_prefix_cache *prefixes;
    struct kl_sampler *sampler;
    struct kl_batch batch; /* of the running step */
    struct kl_forcer forcer;
    struct kl_proposals proposals;

    struct kl_request_queue waiting[KL_N_LEVELS]; /* in the order they came */
    unsigned blocked_level;                       /* of the first that cannot start; KL_N_LEVELS:
                                                   * none waits */
    struct kl_slot slots[KL_MAX_PARALLEL];        /* as the scheduler sees them */
    struct kl_request *running[KL_MAX_PARALLEL];  /* by slot; NULL: the slot is free */
    uint64_t n_started;
    unsigned step_level;    /* of the requests in the running step */
    unsigned loading_level; /* of those for which pages are loaded; KL_N_LEVELS: none are */
    bool has_yielded;       /* the last pass was abandoned for a request of a lower level */
    bool was_aborted;       /* it was abandoned because one of its requests ended; no request of its
                             * level starts until a pass is completed */

    double *waits;            /* [queue_size + parallel + 1] seconds, of requests to answer */
    double work[KL_N_LEVELS]; /* seconds that its requests of each level take alone */
    bool waits_changed;       /* a request came, started or left since they were computed */
};

#endif
