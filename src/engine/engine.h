/*
 * Many requests, one batch per step: all that the server and the commands see of the model.
 *
 * The engine thread owns the forward pass, the KV cache and sampling. Everything here may be
 * called from any one thread (the HTTP thread, or a command's main thread): requests go in through
 * a queue, events come out through one bounded ring per request, and kl_engine_wake_fd becomes
 * readable when there are any. No call waits for the engine, except _open and _close.
 *
 * While a request's ring is full because nobody polls, that request pauses; others do not notice.
 */
#ifndef KL_ENGINE_ENGINE_H
#define KL_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/page_store.h"
#include "model/model.h"
#include "model/plan.h"
#include "text/tokenizer.h"

struct kl_engine;
struct kl_request;

struct kl_engine_options {
    size_t ctx_size;      /* longest sequence, prompt and answer, tokens */
    size_t parallel;      /* requests that run together */
    size_t queue_size;    /* requests that may wait for a place */
    size_t prefill_chunk; /* most prompt tokens in one step; decode goes on between steps */
    size_t n_threads;
    size_t n_threads_prefill; /* in steps of more than one row; 0: as many */
    /* Most that the prefix cache (prefix_cache.h) keeps in memory, beside the room for `parallel`
     * sequences; 0: off. With less than a request may come to need, what is kept gives way. */
    size_t cache_bytes;
    struct kl_page_store *page_store; /* where it keeps pages on disk; NULL: nowhere; outlives it */
    /* With the budget and what others hold; the engine adds its own lines and the KV cache, whose
     * size is what the budget leaves. Looked at by _open only; NULL: no budget. */
    struct kl_plan *plan;
};

#define KL_MAX_STOPS     8
#define KL_MAX_STOP_SIZE 256 /* bytes of one stop string */

/* How the next token is chosen: repetition penalty first; then temperature 0 is greedy (the most
 * likely token, the lower id among equals), any other: temperature, top_k, top_p, min_p, a draw. */
struct kl_sampling {
    float temperature;        /* 0 or more */
    float top_p;              /* (0, 1]; 1: off */
    float min_p;              /* [0, 1); 0: off */
    uint32_t top_k;           /* 0: off */
    float repetition_penalty; /* > 0; 1: off; over prompt and answer */
    uint64_t seed;            /* same seed, same draw */
};

/* Who goes first. While anybody interactive waits or can go on, background work stands still; one
 * that holds a place somebody interactive needs gives it up and goes on later. */
enum kl_priority { KL_PRIORITY_INTERACTIVE = 0, KL_PRIORITY_BACKGROUND };
#define KL_N_PRIORITIES (KL_PRIORITY_BACKGROUND + 1)

struct kl_request_options {
    const int32_t *tokens; /* the prompt; copied */
    size_t n_tokens;
    size_t max_tokens; /* of the answer; cut down to what the context has room for */
    struct kl_sampling sampling;
    /* The answer ends before the one that is complete first (of several that end at the same place,
     * before the longest); copied. Not empty, UTF-8. Text that may be the beginning of one is held
     * back until it is decided. */
    const char *const *stops;
    size_t n_stops;
    bool loop_guard; /* an answer that only repeats itself is ended (loop_guard.h) */
    enum kl_priority priority;
    /* Prompts that were computed before are only used within a scope, so that nobody can time what
     * another one asked. */
    uint64_t cache_scope;
    /* Wall time from the submit, queue included; then it ends with KL_FINISH_DEADLINE, and what it
     * has said stays. 0: none. */
    double deadline_seconds;
};

enum kl_finish {
    KL_FINISH_STOP,       /* the model ended its turn, or a stop string came */
    KL_FINISH_LENGTH,     /* max_tokens, or the context is full */
    KL_FINISH_REPETITION, /* by the loop guard */
    KL_FINISH_CANCELLED,  /* by kl_request_cancel */
    KL_FINISH_DEADLINE,   /* deadline_seconds are over */
    KL_FINISH_ERROR       /* see error */
};
#define KL_N_FINISHES (KL_FINISH_ERROR + 1)
/* "stop", "length", "repetition", "cancelled", "deadline", "error" */
const char *kl_finish_name(enum kl_finish finish);
/* Whether the answer came to its own end: stop, length or repetition. */
static inline bool kl_finish_is_complete(enum kl_finish finish)
{
    return finish <= KL_FINISH_REPETITION;
}

enum kl_event_type {
    /* position: how many stand before it, wait_seconds; again whenever the position changes, and
     * about every second as long as the engine takes steps */
    KL_EVENT_QUEUED,
    KL_EVENT_PREFILL, /* done of total prompt tokens are there, cached ones included */
    KL_EVENT_TEXT,    /* a piece of the answer, valid UTF-8, whole code points */
    KL_EVENT_DONE     /* always the last one, exactly once */
};

/* Text that is longer (a very long token, and what was held back for a stop string) comes in
 * several events. */
#define KL_EVENT_TEXT_SIZE (1024 + 1)

struct kl_event {
    enum kl_event_type type;
    uint32_t position;     /* QUEUED */
    float wait_seconds;    /* QUEUED: until its first step, as far as one can know; 0: unknown */
    uint32_t done, total;  /* PREFILL; cached_tokens, too */
    uint32_t n_tokens;     /* TEXT: tokens generated so far */
    uint32_t text_len;     /* TEXT */
    enum kl_finish finish; /* DONE */
    enum kl_status status; /* DONE with KL_FINISH_ERROR; KL_ERR_MEMORY: another one may succeed */
    /* DONE: what it cost. Seconds are wall time. */
    uint32_t prompt_tokens, cached_tokens, answer_tokens; /* the end token is not counted */
    uint32_t wasted_tokens; /* computed, of prompt and answer, for one that was cancelled */
    double queue_seconds, prefill_seconds, decode_seconds;
    char text[KL_EVENT_TEXT_SIZE]; /* TEXT: the piece; DONE with KL_FINISH_ERROR: why. NUL-ended */
};

/* Starts the engine thread. model and tokenizer must outlive it. KL_ERR_MEMORY also when the plan
 * does not fit into its budget; the plan is complete then, too. */
enum kl_status kl_engine_open(const struct kl_model *model, const struct kl_tokenizer *tokenizer,
                              const struct kl_engine_options *options, struct kl_engine **engine,
                              struct kl_error *err);
/* Cancels what waits and runs, and joins the thread. Requests that were not released yet hold
 * their KL_EVENT_DONE; they may still be polled, and must be released. NULL is allowed. */
void kl_engine_close(struct kl_engine *engine);

/* Computes a prompt when nobody waits or runs, and keeps it for all scopes as long as no request
 * needs the room: whoever sends it, or what begins with it, has its first token after one step.
 * tokens are copied. At most half of the prefix cache is kept like this. KL_ERR_INVALID,
 * KL_ERR_LIMIT as _submit. */
enum kl_status kl_engine_precompute(struct kl_engine *engine, const int32_t *tokens,
                                    size_t n_tokens, struct kl_error *err);

/* Puts a request into the queue. KL_ERR_INVALID: an option out of range (the text says which);
 * KL_ERR_LIMIT: the prompt leaves no room for an answer in ctx_size; KL_ERR_BUSY: queue is full. */
enum kl_status kl_engine_submit(struct kl_engine *engine, const struct kl_request_options *options,
                                struct kl_request **request, struct kl_error *err);

/* The next event of a request; false when there is none now. */
bool kl_request_poll(struct kl_request *request, struct kl_event *event);

/* Asks for the end; the work stops within a layer's time, wherever it is. KL_EVENT_DONE still
 * comes. May be called again. */
void kl_request_cancel(struct kl_request *request);

/* Gives the handle up; cancels it first if it still runs. Never waits. NULL is allowed. */
void kl_request_release(struct kl_request *request);

/* A descriptor that is readable when some request has events; kl_engine_wake_clear before polling
 * all of them. */
int kl_engine_wake_fd(const struct kl_engine *engine);
void kl_engine_wake_clear(struct kl_engine *engine);

struct kl_engine_stats {
    size_t running, queued;
    size_t paused; /* of those that run: nobody reads what they say */
    size_t parallel, queue_size, ctx_size;
    size_t kv_used_tokens, kv_max_tokens; /* used: by requests and the prefix cache */
    size_t buffer_bytes;                  /* of the forward pass and the logits: allocated once */
    /* what follows counts from the start */
    uint64_t requests_ended[KL_N_FINISHES];       /* by enum kl_finish */
    uint64_t requests_refused;                    /* submits that found the queue full */
    uint64_t steps;                               /* passes that were completed */
    uint64_t prompt_tokens, answer_tokens;        /* computed for requests */
    uint64_t precomputed_tokens;                  /* computed by kl_engine_precompute */
    uint64_t wasted_tokens;                       /* of these: for requests that were cancelled */
    uint64_t cache_hit_tokens, cache_miss_tokens; /* of prompts; their sum is all of them */
    uint64_t cache_evictions;                     /* pages, out of memory */
    uint64_t cache_loaded_pages;                  /* from disk */
    /* now */
    size_t cache_pages, cache_max_pages; /* of the prefix cache, in use by requests or not */
    uint64_t cache_bytes;
    struct kl_page_store_stats disk; /* without a page store: all 0 */
    /* What one of a priority that is submitted now would wait for its first step, seconds; 0: not
     * at all, or nothing was measured yet. */
    double expected_wait[KL_N_PRIORITIES];
    uint64_t wait_estimates; /* times that the waits of all were computed, since the start */
    /* seconds from submit to the end, over the last up to 256 requests that finished; 0 before the
     * first */
    double latency_p50, latency_p95;
    /* measured over the recent past, all requests together, tokens/s; 0 before the first */
    double prefill_speed, decode_speed;
};
void kl_engine_stats(struct kl_engine *engine, struct kl_engine_stats *stats);

/* Requests that were answered to their end. */
static inline uint64_t kl_engine_complete(const struct kl_engine_stats *stats)
{
    uint64_t n = 0;
    for (enum kl_finish finish = 0; kl_finish_is_complete(finish); finish++)
        n += stats->requests_ended[finish];
    return n;
}

#endif
