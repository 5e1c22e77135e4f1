/*
 * The engine: text generation for many requests at once, one batch per step.
 *
 * A request is submitted with kl_engine_submit, waits in a queue, gets a slot, and reports its
 * answer as events that its client polls with kl_request_poll. A client that has to wait sleeps on
 * the descriptor kl_engine_wake_fd:
 *
 *     kl_engine_submit(engine, &options, &request, &err);
 *     do {
 *         poll() on kl_engine_wake_fd(engine);
 *         kl_engine_wake_clear(engine);
 *         while (kl_request_poll(request, &event))
 *             ...
 *     } while (event.type != KL_EVENT_DONE);
 *     kl_request_release(request);
 *
 * Threads: the engine thread alone owns the forward pass, the KV cache and sampling. All functions
 * here are called from one other thread (the HTTP thread, or a command's main thread). No call
 * waits for the engine, except kl_engine_open and kl_engine_close.
 *
 * A request may also want the embedding of a text instead of an answer: the hidden vectors of its
 * tokens, pooled. It is batched, queued and cancelled like the others, and has no text.
 *
 * A request whose events are not polled pauses when its ring is full; others are not affected. The
 * text of an answer does not depend on other requests, on caches or on the number of threads.
 *
 * The engine knows tokens and text, not chats, templates or APIs.
 */
#ifndef KL_ENGINE_ENGINE_H
#define KL_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/draft_rates.h"
#include "engine/page_store.h"
#include "engine/pass_costs.h"
#include "model/model.h"
#include "model/plan.h"
#include "text/tokenizer.h"

struct kl_engine;
struct kl_engine_thread;
struct kl_request;
struct kl_rule;
struct kl_token_trie;

struct kl_engine_options {
    size_t ctx_size;          /* longest sequence, prompt and answer, tokens */
    size_t parallel;          /* slots: requests that run together; 1 to 64 */
    size_t queue_size;        /* requests that may wait for a slot */
    size_t prefill_chunk;     /* most prompt tokens in one step */
    size_t n_threads;         /* of a pass with one row */
    size_t n_threads_prefill; /* of a pass with more rows; 0: n_threads */
    /* Most guessed tokens that one pass computes in addition (drafts: propose.h); 0: off. They make
     * answers faster and change no text. */
    size_t draft_max;
    const struct kl_pass_costs *pass_costs; /* what a row costs; NULL: the usual. Copied */
    /* Most bytes of the prefix cache (prefix_cache.h) in memory, in addition to the room for
     * `parallel` sequences; 0: off. Where memory is short, running requests evict its pages. */
    size_t cache_bytes;
    /* Most bytes that following its rule may take for one running request; more ends its answer
     * with an error. JSON answers take some hundred KB. 0: KL_DEFAULT_RULE_BYTES. */
    size_t rule_bytes;
    /* The thread that computes (engine_thread.h), which other engines use, too; must outlive the
     * engine. NULL: one of its own. */
    struct kl_engine_thread *thread;
    /* Keeps pages of the prefix cache on disk; must outlive the engine; NULL: none. */
    struct kl_page_store *page_store;
    /* Holds the budget and the memory of other parts. kl_engine_open adds the engine's lines; the
     * KV cache gets what the budget leaves. Not used after kl_engine_open; NULL: no budget. */
    struct kl_plan *plan;
};

#define KL_DEFAULT_RULE_BYTES ((size_t)4 << 20)

#define KL_MAX_STOPS     16
#define KL_MAX_STOP_SIZE 256 /* bytes of one stop string */

#define KL_MAX_BIASES           1024
#define KL_MAX_DRY_BREAKERS     16
#define KL_MAX_DRY_BREAKER_SIZE 32 /* bytes of one */
#define KL_MAX_TOP_LOGPROBS     20

/* DRY: a token that would continue a repetition is lowered, the more the longer that is.
 *
 * The window is the end of prompt and answer. At each place before its end, a match is the largest
 * number of tokens before that place that equal the same number of tokens at the end of the window
 * (at most 256, KL_DRY_LONGEST). A match does not contain a token that breaks: a control token, or
 * one in which the text of a sequence breaker ends. The token at that place follows the match; if
 * `length` is that of its longest match and at least allowed_length, then
 *
 *     logit -= multiplier * base ^ (length - allowed_length)
 *
 * except for control tokens and tokens whose text contains a sequence breaker. */
struct kl_dry {
    float multiplier; /* 0 or more; 0: off */
    float base;       /* 1 or more */
    uint32_t allowed_length;
    uint32_t window; /* tokens; 0: all of prompt and answer */
    uint32_t n_breakers;
    char breakers[KL_MAX_DRY_BREAKERS][KL_MAX_DRY_BREAKER_SIZE + 1]; /* not empty */
};

/* Sets the defaults of llama-server: off; base 1.75, allowed_length 2, no window, and the breakers
 * "\n", ":", "\"" and "*". */
void kl_dry_defaults(struct kl_dry *dry);

/* How the next token is chosen, in this order. A member that is 0 is off, except where it says
 * otherwise. Steps 1 to 4 change logits, in float:
 *
 * 1. Biases: each is added to the logit of its token.
 * 2. The repetition penalty r, once for each token that occurs in the last repetition_window tokens
 *    of prompt and answer: a logit above 0 is divided by r, others are multiplied by it.
 * 3. logit -= frequency_penalty * n + presence_penalty, for each token that occurs n > 0 times in
 *    the answer so far (not in the prompt; OpenAI's definition).
 * 4. DRY, see above.
 *
 * Then, with temperature 0, the token with the highest logit is chosen (the lowest id among
 * equals). Otherwise the weight of a token is e^((logit - best) / temperature), and 0 below e^-40;
 * its probability p is its share of the weights that the steps before have left:
 *
 * 5. top_k: the k best are left.
 * 6. typical_p: let h be the entropy of the probabilities, the sum of -p ln p. The tokens with the
 *    smallest |-ln p - h| (as floats) are left, as few as have typical_p of the weight in sum.
 * 7. top_p: the best are left, as few as have top_p of the weight in sum.
 * 8. min_p: those with at least min_p times the weight of the best one are left.
 * 9. One of these is drawn by weight.
 *
 * In 5 to 7 the lower id goes first among equals. Steps 6, 7 and 8 leave at least min_keep tokens,
 * where there are as many: the first ones in the order of that step. A token that the rule of an
 * answer does not allow takes no part in any step; one that it forces is not chosen, so no step
 * applies to it.
 *
 * 1 to 4 and 5 to 8 have the order and the definitions of llama.cpp, but the temperature, which is
 * last there; and the history of step 3, which is a window of prompt and answer there. */
struct kl_sampling {
    float temperature;          /* 0 or more */
    float top_p;                /* (0, 1]; 1: off */
    float min_p;                /* [0, 1) */
    uint32_t top_k;             /* 0: off */
    float typical_p;            /* [0, 1]; 1: off, too */
    uint32_t min_keep;          /* 0 is the same as 1 */
    float repetition_penalty;   /* > 0; 1: off */
    uint32_t repetition_window; /* tokens; 0: all of prompt and answer */
    float frequency_penalty;    /* negative: tokens that occurred are preferred */
    float presence_penalty;
    struct kl_dry dry;
    bool ignore_eos; /* no token ends the answer: a bias of -INFINITY for all that would */
    /* [n_biases] at most KL_MAX_BIASES; -INFINITY: never. Those of one id add up. Copied. */
    const struct kl_logit *biases;
    size_t n_biases;
    uint64_t seed; /* the same seed gives the same answer */
};

/* The logarithm of the probability of a token. */
struct kl_logprob {
    double value; /* at most 0 */
    int32_t id;
};

/* Interactive requests go first: background requests make no progress while an interactive one
 * waits or can run, and are preempted if it needs their slot; they go on later. */
enum kl_priority { KL_PRIORITY_INTERACTIVE = 0, KL_PRIORITY_BACKGROUND };
#define KL_N_PRIORITIES (KL_PRIORITY_BACKGROUND + 1)

struct kl_request_options {
    const int32_t *tokens; /* the prompt; copied */
    size_t n_tokens;
    /* Wants the embedding of the prompt, see kl_request_embedding. Of the fields below only
     * priority, cache_scope and deadline_seconds are read then; the prompt may fill the context. */
    bool embeds;
    enum kl_pooling pooling;
    size_t max_tokens; /* of the answer; reduced to the room that ctx_size leaves. 0: the prompt is
                        * computed, and that is all */
    struct kl_sampling sampling;
    /* Stop strings, not empty, UTF-8; copied. The answer ends before the first that is complete; if
     * several end at the same byte, before the longest. Text that may be the beginning of one is
     * withheld until that is decided. */
    const char *const *stops;
    size_t n_stops;
    /* The rule that the answer follows (grammar/rule.h); the request holds a share. Tokens that
     * the rule forces are not sampled (request_rule.h), but count like all other tokens.
     * NULL: the answer is free. */
    struct kl_rule *rule;
    const struct kl_token_trie *trie; /* of the tokenizer, with a rule; must outlive the request */
    /* A text that the answer may be like, for drafts: it makes the answer faster where it is right,
     * and changes nothing. Ids below the vocabulary's size; copied as far as the answer may go. */
    const int32_t *prediction;
    size_t n_prediction;
    bool loop_guard; /* ends an answer that only repeats itself (loop_guard.h) */
    /* Sends KL_EVENT_TOKEN for each token, with this many of the most likely ones, at most
     * KL_MAX_TOP_LOGPROBS. All logits are computed then, and nothing else changes. */
    bool logprobs;
    size_t top_logprobs;
    bool token_ids; /* sends KL_EVENT_TOKEN without logprobs, too: the token, with a value of 0 */
    enum kl_priority priority;
    /* Computed prompts are only shared within a scope: otherwise the time to the first token would
     * tell one client what another has asked. */
    uint64_t cache_scope;
    /* Wall time from kl_engine_submit on, the queue included, after which the request ends with
     * KL_FINISH_DEADLINE; events before that stay valid. 0: none. */
    double deadline_seconds;
};

enum kl_finish {
    KL_FINISH_STOP,       /* the model ended its turn, the rule is fulfilled and allows no more, or
                           * a stop string was found; or an embedding is complete */
    KL_FINISH_LENGTH,     /* max_tokens were generated, or the context is full */
    KL_FINISH_REPETITION, /* ended by the loop guard */
    KL_FINISH_CANCELLED,  /* kl_request_cancel, kl_request_release or kl_engine_close */
    KL_FINISH_DEADLINE,   /* deadline_seconds are over */
    KL_FINISH_ERROR       /* the event has a status and a text */
};
#define KL_N_FINISHES (KL_FINISH_ERROR + 1)
/* Returns "stop", "length", "repetition", "cancelled", "deadline" or "error". */
const char *kl_finish_name(enum kl_finish finish);
/* Returns whether the answer is complete: stop, length or repetition. */
static inline bool kl_finish_is_complete(enum kl_finish finish)
{
    return finish <= KL_FINISH_REPETITION;
}

/* Events of a request in their order: QUEUED and PREFILL zero or more times each, TOKEN and TEXT,
 * DONE. They say nothing of formats and dialects, which are made from them. */
enum kl_event_type {
    KL_EVENT_QUEUED,  /* sent when the position changes, and about every second between steps */
    KL_EVENT_PREFILL, /* progress of the prompt */
    /* A token that was accepted and is not a control token, before the text with its first byte;
     * only if logprobs or token_ids were asked for. If the answer ends before that text is sent (a
     * stop string), then the token is not part of it. */
    KL_EVENT_TOKEN,
    KL_EVENT_TEXT, /* a piece of the answer: valid UTF-8, whole code points */
    KL_EVENT_DONE  /* the end: always the last event, exactly once */
};

/* Longer text (of a very long token, or withheld for a stop string) takes several events. */
#define KL_EVENT_TEXT_SIZE (1024 + 1)

/* The fields before text are those of the type; others are 0. */
struct kl_event {
    enum kl_event_type type;
    /* QUEUED */
    uint32_t position;  /* requests before it in the queue */
    float wait_seconds; /* an estimate of the time until its first step; 0: unknown */
    /* PREFILL (and cached_tokens) */
    uint32_t done, total; /* prompt tokens: computed or cached, and all */
    /* TOKEN */
    uint32_t text_at;    /* bytes of text in the answer before it */
    uint32_t n_logprobs; /* of the token, and of the most likely ones */
    /* TEXT (and n_tokens: TOKEN) */
    uint32_t n_tokens; /* of the answer so far; without this token */
    uint32_t text_len; /* bytes of text; also with KL_FINISH_ERROR */
    /* DONE */
    enum kl_finish finish;
    enum kl_status status;  /* with KL_FINISH_ERROR; KL_ERR_MEMORY: a retry may succeed */
    uint32_t prompt_tokens; /* all tokens of the prompt */
    uint32_t cached_tokens; /* of these: from the prefix cache */
    uint32_t answer_tokens; /* without the end token */
    uint32_t drafted_tokens, accepted_tokens; /* computed as drafts, and of these in the answer */
    uint32_t stopped_by;    /* the stop string that was found: its number, from 1 on; 0: none */
    uint32_t wasted_tokens; /* computed for prompt and answer; 0 unless cancelled */
    double queue_seconds;   /* wall time, as the two below */
    double prefill_seconds; /* from the first slot to the first token */
    double decode_seconds;  /* from there to the end */
    union {
        /* TEXT: the piece; KL_FINISH_ERROR: the reason. NUL-terminated */
        char text[KL_EVENT_TEXT_SIZE];
        /* TOKEN: the token; then the most likely ones, the best first */
        struct kl_logprob logprobs[1 + KL_MAX_TOP_LOGPROBS];
    };
};

/* Opens an engine on its thread. model and tokenizer must outlive the engine. KL_ERR_INVALID: an
 * option out of range. KL_ERR_MEMORY: no memory, or the plan exceeds its budget; the plan is
 * complete then, too. */
enum kl_status kl_engine_open(const struct kl_model *model, const struct kl_tokenizer *tokenizer,
                              const struct kl_engine_options *options, struct kl_engine **engine,
                              struct kl_error *err);
/* Cancels all requests, and waits until the thread has let the engine go: for a pass that runs, of
 * this engine the time of one layer. Any thread may call it. Requests that were not released have
 * their KL_EVENT_DONE; they may still be polled, and must be released. NULL is allowed. */
void kl_engine_close(struct kl_engine *engine);

/* Computes a prompt ahead, when no request waits or runs, and pins it in the prefix cache for all
 * scopes until requests need the memory: a request that begins with it has these tokens cached.
 * tokens: copied. At most half of the prefix cache is pinned; beyond that prompts are not kept.
 * Errors: as kl_engine_submit, without KL_ERR_BUSY. */
enum kl_status kl_engine_precompute(struct kl_engine *engine, const int32_t *tokens,
                                    size_t n_tokens, struct kl_error *err);

/* Queues a request. The caller owns *request and releases it. KL_ERR_INVALID: an option out of
 * range (the text names it); KL_ERR_LIMIT: the prompt leaves no room for an answer in ctx_size;
 * KL_ERR_BUSY: the queue is full; KL_ERR_MEMORY. */
enum kl_status kl_engine_submit(struct kl_engine *engine, const struct kl_request_options *options,
                                struct kl_request **request, struct kl_error *err);

/* Takes the next event of a request; false: there is none now. */
bool kl_request_poll(struct kl_request *request, struct kl_event *event);

/* Finds "last", "mean" or "cls" (KL_POOLING_FIRST); false: it is another name. */
bool kl_pooling_find(const char *name, enum kl_pooling *pooling);

/* The embedding of a request that wants one: [*n] f32, *n is the model's n_embd; not normalised.
 * Complete when KL_EVENT_DONE has KL_FINISH_STOP; valid until the request is released. It has the
 * same bits alone and in company, whatever is cached. NULL for other requests. */
const float *kl_request_embedding(const struct kl_request *request, size_t *n);

/* Cancels a request; a running pass is abandoned within the time of one layer. KL_EVENT_DONE still
 * comes. No effect on a request that has ended or was cancelled before. */
void kl_request_cancel(struct kl_request *request);

/* Changes the priority of a request: it goes on where requests of that priority would, behind those
 * that wait. No effect on one that has ended. */
void kl_request_set_priority(struct kl_request *request, enum kl_priority priority);

/* Gives up the handle; cancels the request if it has not ended. Never waits. NULL is allowed. */
void kl_request_release(struct kl_request *request);

/* Returns a descriptor that is readable when some request has events. Call kl_engine_wake_clear,
 * then poll all requests: in this order no event is missed. */
int kl_engine_wake_fd(const struct kl_engine *engine);
void kl_engine_wake_clear(struct kl_engine *engine);

struct kl_engine_stats {
    /* now */
    size_t running, queued; /* requests in slots, and waiting for one; no precomputed prompts */
    size_t paused;          /* of the running ones: their client does not poll */
    size_t kv_used_tokens;  /* by requests and the prefix cache, in whole pages */
    size_t cache_pages;     /* in the prefix cache, whether requests use them or not */
    uint64_t cache_bytes;
    struct kl_page_store_stats disk; /* all 0 without a page store */
    /* Estimated seconds until the first step of a request of that priority that is submitted now;
     * 0: none, or nothing was measured yet. */
    double expected_wait[KL_N_PRIORITIES];
    /* Seconds from submit to the end, over the last 256 complete answers; 0 before the first. */
    double latency_p50, latency_p95;
    double prefill_speed, decode_speed; /* recent, all requests together, tokens/s; 0: none yet */

    /* constant */
    size_t parallel, queue_size, ctx_size;
    size_t n_embd;           /* of an embedding */
    enum kl_pooling pooling; /* that the model's file names, or the usual one */
    size_t kv_max_tokens, cache_max_pages;
    struct kl_pass_costs pass_costs; /* by which drafts are weighed */
    size_t buffer_bytes;             /* of the forward pass and of candidates: allocated by _open */

    /* since the start */
    uint64_t requests_ended[KL_N_FINISHES];       /* answers, by enum kl_finish */
    uint64_t embeddings;                          /* complete ones */
    uint64_t requests_refused;                    /* with KL_ERR_BUSY */
    uint64_t steps;                               /* completed passes */
    uint64_t prompt_tokens, answer_tokens;        /* computed for requests */
    uint64_t precomputed_tokens;                  /* computed for kl_engine_precompute */
    uint64_t wasted_tokens;                       /* computed for requests that were cancelled */
    uint64_t cache_hit_tokens, cache_miss_tokens; /* of prompts; their sum is all tokens */
    uint64_t cache_evictions;                     /* pages removed from memory */
    uint64_t cache_loaded_pages;                  /* from disk */
    uint64_t drafted_tokens[KL_N_DRAFT_SOURCES];  /* computed as drafts, by where they came from */
    uint64_t accepted_tokens[KL_N_DRAFT_SOURCES]; /* of these: part of an answer */
    /* Passes without prompt rows: [i] with i + 1 rows, the last with that many or more. */
    uint64_t decode_passes[KL_PASS_COSTS];
    uint64_t wait_estimates; /* times that all waits were computed */
};
/* Fills *stats. */
void kl_engine_stats(struct kl_engine *engine, struct kl_engine_stats *stats);

/* Returns the number of complete answers. */
static inline uint64_t kl_engine_complete(const struct kl_engine_stats *stats)
{
    uint64_t n = 0;
    for (enum kl_finish finish = 0; kl_finish_is_complete(finish); finish++)
        n += stats->requests_ended[finish];
    return n;
}

#endif
