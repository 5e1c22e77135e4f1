/*
 * One request: its creation, its owners and its state.
 *
 * Shared by its client (poll, cancel, release: engine.h, from one thread) and the engine thread,
 * which calls everything here. It lives until both have given it up. Its events are in
 * request_events.h, its answer in answer.h.
 */
#ifndef KL_ENGINE_REQUEST_H
#define KL_ENGINE_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/ring.h"
#include "engine/embedding.h"
#include "engine/engine.h"
#include "engine/loop_guard.h"
#include "engine/request_rule.h"
#include "engine/sampler.h"
#include "engine/stop.h"
#include "engine/wakeup.h"
#include "text/detokenizer.h"

enum kl_request_kind {
    KL_REQUEST_ANSWER,    /* an answer for a client */
    KL_REQUEST_EMBEDDING, /* the embedding of a prompt for a client */
    KL_REQUEST_PRECOMPUTE /* a prompt computed ahead for the prefix cache: no client, no answer */
};

/* The scheduler's levels: the priorities of answers, then prompts computed ahead. */
#define KL_LEVEL_PRECOMPUTE KL_N_PRIORITIES
#define KL_N_LEVELS         (KL_LEVEL_PRECOMPUTE + 1)

#define KL_NO_POSITION          UINT32_MAX
#define KL_POSITION_INTERVAL_NS 1000000000u /* after which positions and waits are sent again */

/* Most bytes that one token appends to the pending text: 1 KiB (KL_TOKEN_MAX_BYTES), each byte
 * replaced by U+FFFD, and an incomplete code point before it. */
#define KL_TOKEN_TEXT_SIZE ((size_t)3 * (1024 + 4))
#define KL_PENDING_SIZE    ((size_t)4 * 1024) /* that, and text withheld for a stop string */

/* The text of each token of a step is sent in events of its own. */
#define KL_TEXT_CUTS 32
struct kl_text_cut {
    uint32_t end;      /* bytes of the pending text */
    uint32_t n_tokens; /* of the answer up to here */
};

struct kl_request {
    struct kl_ring ring;            /* of events: the engine thread writes, the client reads */
    _Atomic(int) owners;            /* client and engine; the last one frees it */
    _Atomic(bool) cancelled;        /* set by the client */
    _Atomic(unsigned) wanted_level; /* set by the client; the engine's thread follows */
    _Atomic(bool) waits;            /* for room in the ring; set by the engine, cleared by a poll */
    _Atomic(bool) finished;         /* set last by the engine thread: wakeup is not used any more */
    struct kl_wakeup *wakeup;

    /* constant after _new */
    enum kl_request_kind kind;
    struct kl_sampling sampling; /* its biases are behind the tokens, in the sampler's order */
    bool logprobs, token_ids;
    size_t top_logprobs;
    uint64_t cache_scope;
    size_t n_prompt;
    size_t max_answer;
    uint64_t submitted_ns, deadline_ns; /* deadline: UINT64_MAX: none */

    /* the engine thread's */
    struct kl_request *next;      /* in a queue */
    unsigned level;               /* of the scheduler */
    struct kl_sequence *sequence; /* NULL: not in a slot */
    uint64_t started_ns;          /* when it got its first slot; 0: not yet */
    uint64_t decoding_ns;         /* when its prompt was computed; 0: not yet */
    uint32_t position;            /* last sent, or KL_NO_POSITION */
    uint64_t position_sent_ns;
    bool is_loading;    /* its pages are still looked up, in memory and on disk */
    bool has_reused;    /* n_cached is known */
    size_t n_prefilled; /* tokens of the prompt that the client knows to be computed */
    size_t n_cached;    /* tokens of the prompt that the prefix cache had at its first start */
    size_t n_drafted, n_accepted; /* proposed tokens that passes computed, and that were right */
    size_t n_computed; /* rows of prompt and answer that passes computed, lost ones included */

    struct kl_embedding *embedding; /* NULL: it wants an answer, or is computed ahead */
    struct kl_random random;
    struct kl_stop_matcher stops;
    struct kl_request_rule rule;
    struct kl_loop_guard loop_guard; /* without symbols: off */
    struct kl_detokenizer detokenizer;
    struct kl_buffer pending; /* text not sent yet; KL_PENDING_SIZE bytes, never grows */
    size_t withheld; /* bytes at its end that must not be sent: perhaps part of a stop string */
    struct kl_text_cut cuts[KL_TEXT_CUTS]; /* where the pending text of a token ends, in order */
    size_t n_cuts;
    size_t n_text;         /* bytes that were sent */
    size_t n_token_events; /* sent in this step */

    size_t n_tokens;   /* prompt and answer so far; all are computed but the last of an answer, and
                        * those that its rule has forced */
    size_t n_proposed; /* tokens behind these that the next pass computes (propose.h) */
    size_t n_forced;   /* tokens behind these that follow by rule; with logprobs: each of them is
                        * accepted when the row before it is computed. Nothing is proposed then */
    size_t
        wide_until; /* with fewer tokens, proposed ones have room for all logits: one overflowed */
    const int32_t *prediction; /* [n_prediction] a text that the answer may be like */
    size_t n_prediction;
    /* [n_prompt + max_answer], [n_symbols] of the loop guard: max_answer or 0, the prediction, and
     * biases */
    int32_t tokens[];
};

/* The first n tokens, proposed ones included, as the sampler reads them. */
static inline struct kl_history kl_request_history(const struct kl_request *request, size_t n)
{
    return (struct kl_history){.tokens = request->tokens,
                               .n = n,
                               .n_prompt = request->n_prompt,
                               .tokenizer = request->detokenizer.tokenizer};
}

/* The two questions about the kind of a request; its level is for the scheduler. */
static inline bool kl_request_is_answer(const struct kl_request *request)
{
    return request->kind == KL_REQUEST_ANSWER;
}

static inline bool kl_request_has_client(const struct kl_request *request)
{
    return request->kind != KL_REQUEST_PRECOMPUTE;
}

/* The number of its first tokens whose rows need not be computed if the prefix cache has them: not
 * that of the last token, nor those whose hidden vectors are still wanted. */
static inline size_t kl_request_reusable(const struct kl_request *request)
{
    size_t n = request->n_tokens - 1;
    return request->embedding != NULL && request->embedding->next < n ? request->embedding->next
                                                                      : n;
}

/* Whether its pages go into the prefix cache. A text is rarely embedded twice, and thousands of
 * them would evict every conversation: their pages go there only when the request is preempted, for
 * itself. */
static inline bool kl_request_shares(const struct kl_request *request)
{
    return request->embedding == NULL;
}

/* Checks and copies the options; the answer is cut to the room in ctx_size. Owned by the engine
 * and, unless it is computed ahead, by its client. n_embd: of the model. wakeup and tokenizer must
 * outlive it. n_vocab: ids below it are valid. Errors: as kl_engine_submit; KL_ERR_MEMORY. */
enum kl_status kl_request_new(enum kl_request_kind kind, const struct kl_request_options *options,
                              size_t ctx_size, size_t n_vocab, size_t n_embd,
                              const struct kl_tokenizer *tokenizer, struct kl_wakeup *wakeup,
                              struct kl_request **request, struct kl_error *err);
/* One owner gives it up; the last one frees it. */
void kl_request_disown(struct kl_request *request);

/* Sends the last event and gives up the engine's share; request is invalid afterwards. why: only
 * used with KL_FINISH_ERROR. */
void kl_request_finish(struct kl_request *request, enum kl_finish finish,
                       const struct kl_error *why, uint64_t now_ns);

/* Pages of the KV cache for the prompt and the longest answer. */
static inline size_t kl_request_pages(const struct kl_request *request)
{
    return (request->n_prompt + request->max_answer + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
}

/* Most bytes of memory that one request takes, for the plan. */
size_t kl_request_bytes(size_t ctx_size, size_t n_embd);

static inline size_t kl_request_answer_tokens(const struct kl_request *request)
{
    return request->n_tokens - request->n_prompt;
}

/* Gives it the level that its client wants now. Returns whether it had another. */
static inline bool kl_request_follow_level(struct kl_request *request)
{
    unsigned before = request->level;
    request->level = atomic_load_explicit(&request->wanted_level, memory_order_relaxed);
    return request->level != before;
}

/* Tokens wasted if it finishes this way. */
static inline size_t kl_request_wasted_tokens(const struct kl_request *request,
                                              enum kl_finish finish)
{
    return finish == KL_FINISH_CANCELLED ? request->n_computed : 0;
}

/* Returns whether it was cancelled or timed out; *how is set in any case. */
static inline bool kl_request_must_end(const struct kl_request *request, uint64_t now_ns,
                                       enum kl_finish *how)
{
    bool cancelled = atomic_load_explicit(&request->cancelled, memory_order_acquire);
    *how = cancelled ? KL_FINISH_CANCELLED : KL_FINISH_DEADLINE;
    return cancelled || now_ns >= request->deadline_ns;
}

#endif
