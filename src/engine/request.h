/*
 * One request, shared by the client's side (poll, cancel, release; see engine.h) and the engine
 * thread (everything here). It lives until both have given it up.
 *
 * Events go into its ring. A step is only begun when the ring has room for all that the step can
 * say and the KL_EVENT_DONE after it, so an event is never lost and the last one always fits.
 */
#ifndef KL_ENGINE_REQUEST_H
#define KL_ENGINE_REQUEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/ring.h"
#include "engine/engine.h"
#include "engine/loop_guard.h"
#include "engine/sampler.h"
#include "engine/stop.h"
#include "text/detokenizer.h"

/* How clients call the engine thread, which may be asleep or inside a forward pass. */
struct kl_wakeup {
    pthread_mutex_t lock;
    pthread_cond_t called;
    _Atomic(bool) wanted;
};
void kl_wakeup_signal(struct kl_wakeup *wakeup);

/* The scheduler's levels are the priorities, and the engine's own work behind them. */
#define KL_LEVEL_PRECOMPUTE KL_N_PRIORITIES
#define KL_N_LEVELS         (KL_LEVEL_PRECOMPUTE + 1)

#define KL_NO_POSITION   UINT32_MAX
#define KL_TELL_AGAIN_NS 1000000000u /* waits are computed anew, though no request came or left */

struct kl_request {
    struct kl_ring ring;
    _Atomic(int) owners;     /* client and engine: 2, 1, gone */
    _Atomic(bool) cancelled; /* set by the client */
    _Atomic(bool) waits;     /* for room in the ring; set by the engine, cleared by a poll */
    _Atomic(bool) finished;  /* the engine is done with it; the client leaves the engine alone */
    struct kl_wakeup *wakeup;

    /* the engine thread's */
    struct kl_request *next; /* in a queue */
    struct kl_sampling sampling;
    struct kl_random random;
    struct kl_stop_matcher stops;
    struct kl_loop_guard loop_guard; /* without symbols: off */
    struct kl_detokenizer detokenizer;
    struct kl_buffer pending; /* text not shown yet; never grows */
    struct kl_sequence *sequence;
    unsigned level;
    uint64_t cache_scope;
    uint32_t position;         /* last told, or KL_NO_POSITION */
    uint64_t position_told_ns; /* when */
    size_t n_prompt;
    size_t max_answer;
    size_t n_tokens; /* prompt and answer so far; all but the last one of an answer are computed */
    bool is_loading; /* what is known of its tokens is still being looked for */
    bool has_looked; /* and n_cached is what was found the first time */
    size_t n_cached; /* of the prompt, found in the prefix cache when it was begun */
    size_t n_computed;                                /* of prompt and answer */
    uint64_t submitted_ns, admitted_ns, answering_ns; /* 0: not yet */
    uint64_t deadline_ns;                             /* UINT64_MAX: none */
    int32_t tokens[]; /* n_prompt + max_answer, and max_answer symbols of the loop guard */
};

/* Checks and copies the options; the answer is cut to the room in ctx_size. Both sides own it. */
enum kl_status kl_request_new(const struct kl_request_options *options, size_t ctx_size,
                              size_t n_vocab, const struct kl_tokenizer *tokenizer,
                              struct kl_wakeup *wakeup, struct kl_request **request,
                              struct kl_error *err);
/* One side gives it up. */
void kl_request_disown(struct kl_request *request);

/* Room for all the events of a step? When not, the next poll calls for attention. */
bool kl_request_has_room(struct kl_request *request);

/* These say whether anything was sent. A position that did not change is sent again, with the wait
 * that shrank meanwhile, after half a second; one for which there is no room now is not, nor that
 * of a request that was begun before. */
bool kl_request_send_queued(struct kl_request *request, uint32_t position, double wait_seconds,
                            uint64_t now_ns);
bool kl_request_send_prefill(struct kl_request *request, size_t done);

enum kl_answer {
    KL_ANSWER_GOES_ON,
    KL_ANSWER_STOPS,
    KL_ANSWER_FULL,
    KL_ANSWER_REPEATS, /* the loop guard is on, and finds that it only repeats itself */
    KL_ANSWER_FAILED
};

/* Adds a token to the answer and sends the text that is now certain, all of it when the answer
 * ends here. *sent says whether there was any. KL_ANSWER_FAILED fills *err. */
enum kl_answer kl_request_accept(struct kl_request *request, int32_t token, bool *sent,
                                 struct kl_error *err);

/* The last event; why is only used with KL_FINISH_ERROR. Gives the engine's side up. */
void kl_request_finish(struct kl_request *request, enum kl_finish finish,
                       const struct kl_error *why, uint64_t now_ns);

/* Pages of the KV cache for the prompt and the longest answer. */
static inline size_t kl_request_pages(const struct kl_request *request)
{
    return (request->n_prompt + request->max_answer + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
}

/* Memory of one at most, for the plan. */
size_t kl_request_bytes(size_t ctx_size);

static inline size_t kl_request_answer_tokens(const struct kl_request *request)
{
    return request->n_tokens - request->n_prompt;
}

/* What was computed for it in vain, if it ends like this. */
static inline size_t kl_request_wasted_tokens(const struct kl_request *request,
                                              enum kl_finish finish)
{
    return finish == KL_FINISH_CANCELLED ? request->n_computed : 0;
}

/* Whether it is to end before it is complete, and how. */
static inline bool kl_request_must_end(const struct kl_request *request, uint64_t now_ns,
                                       enum kl_finish *how)
{
    bool cancelled = atomic_load_explicit(&request->cancelled, memory_order_acquire);
    *how = cancelled ? KL_FINISH_CANCELLED : KL_FINISH_DEADLINE;
    return cancelled || now_ns >= request->deadline_ns;
}

#endif
