/*
 * Generations: carry the engine's events to the client.
 *
 * A generation is one exchange and its 1 to KL_MAX_ANSWERS engine requests; intake.h creates it and
 * submits them. The answer format of its dialect writes its events as bytes (dialect.h). A stream
 * is never silent for a second: heartbeats report the queue position and the progress of the
 * prompt. When the client disconnects, the work is cancelled at once, at any stage: on the worker,
 * in the queue, in prefill, in decode; unless the answer outlives it (live_answer.h): then the work
 * goes on in the background while nothing reads it.
 *
 * Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_GENERATION_H
#define KL_SERVICE_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "engine/engine.h"
#include "http/exchange.h"
#include "service/call_reader.h"
#include "service/dialect.h"
#include "service/generation_request.h"
#include "service/live_answer.h"
#include "service/metrics.h"
#include "service/service.h"

struct kl_embedding_work;
struct kl_preparation;

/* A call of a tool, complete or as far as the answer goes. */
struct kl_answer_call {
    struct kl_buffer name, arguments; /* arguments: JSON */
};

struct kl_answer_choice {
    struct kl_request *request; /* NULL once it is done */
    struct kl_buffer text;      /* the text so far, for a document */
    struct kl_buffer tokens;    /* those whose text has not come yet, see kl_choice_take_token */
    struct kl_buffer logprobs;  /* JSON of log-probabilities so far, for a document */
    struct kl_call_reader *call_reader; /* NULL: the answer is text */
    struct kl_answer_call *calls;       /* [n_calls] so far; filled for a document */
    size_t n_calls;
    uint64_t n_text; /* bytes of text so far */
    enum kl_finish finish;
    uint32_t prompt_tokens, cached_tokens, answer_tokens, drafted_tokens, accepted_tokens;
    bool ended;          /* by kl_choice_end */
    uint32_t stopped_by; /* the number of the stop string that ended it, from 1 on; 0: none */
    double queue_seconds, prefill_seconds, decode_seconds;
    bool is_silent; /* its deadline passed before any text, and its end is not reported yet */
    uint64_t submit_ns, prefill_ns, first_text_ns; /* times of these steps; 0: not yet */
    uint64_t text_ns;                              /* time of the last piece of text; 0: none yet */
};

struct kl_generation {
    struct kl_service *service;
    struct kl_hosted *model;               /* that answers; the default until it is known */
    struct kl_exchange *exchange;          /* that of `live`, if there is one */
    struct kl_live_answer *live;           /* the answer outlives its client; NULL: it does not */
    const struct kl_answer_format *format; /* NULL: not known yet */
    bool begun; /* a stream's head is sent, or a document is collected; `format` writes the rest */
    struct kl_preparation *preparation; /* NULL once it is submitted */
    bool include_usage, return_progress, logprobs;
    bool function_calls; /* the answer has the one `function_call` of older clients */
    const char *service_tier;
    uint64_t deadline_ns;                /* 0: none */
    size_t n_left_out;                   /* messages that did not fit */
    enum kl_priority priority;           /* while it is read */
    enum kl_counter refusal;             /* the counter to use if it is refused */
    int64_t created;                     /* seconds since 1970 */
    struct kl_call_names *call_names;    /* of tools that the answers may call; owned; NULL: none */
    struct kl_answer_record *record;     /* of the answer, a share; owned; NULL: it is not kept */
    char *kept;                          /* of the request, for the format; owned */
    void *state;                         /* of the format, which allocates it; owned */
    void (*release_state)(void *state);  /* NULL: free */
    struct kl_embedding_work *embedding; /* embeddings are wanted; NULL: answers */
    /* [n_choices] choice i is of prompt i / n_per_prompt; of embeddings: one, of all prompts */
    struct kl_answer_choice *choices;
    size_t n_choices, n_open; /* 0 until they are submitted */
    size_t n_per_prompt;
    /* progress before the first text, for heartbeats */
    uint32_t position, prefill_done, prefill_total, prefill_cached;
    float wait_seconds;
    uint64_t prefill_ns; /* estimated begin of prefill: the last time it was seen in the queue */
    bool has_text;
    struct kl_generation *previous, *next;
};

/* A token and its log-probabilities: itself, then the most likely ones. */
struct kl_choice_token {
    uint32_t text_at, n;
    struct kl_logprob logprobs[1 + KL_MAX_TOP_LOGPROBS];
};

/* Takes the next token of which some text is part of the answer by now; false: there is none. To be
 * called by `text` (dialect.h) until it returns false, if the request asked for logprobs. */
bool kl_choice_take_token(struct kl_answer_choice *choice, struct kl_choice_token *token);

/* Returns the tokens of all prompts, each counted once. */
static inline uint64_t kl_generation_prompt_tokens(const struct kl_generation *g)
{
    uint64_t n = 0;
    for (size_t i = 0; i < g->n_choices; i += g->n_per_prompt)
        n += g->choices[i].prompt_tokens;
    return n;
}

/* Writes the id of a call: "call_", unique among all answers. */
#define KL_CALL_ID_SIZE 64
void kl_call_id(const struct kl_generation *g, size_t choice, size_t index,
                char id[KL_CALL_ID_SIZE]);

/* Implementations of `text`, `call` and `error` for formats that are documents: collect the text
 * and the calls of a choice; answers with the error. */
enum kl_status kl_document_text(struct kl_generation *g, size_t choice, const char *text,
                                size_t len);
enum kl_status kl_document_call(struct kl_generation *g, size_t choice,
                                const struct kl_call_piece *piece);
void kl_document_error(struct kl_generation *g, const struct kl_api_error *error);

/* Returns "deadline" or "repetition"; NULL for an end by the model or by a limit the client set. */
const char *kl_ended_by(enum kl_finish finish);

/* Sends a heartbeat with the progress, or the progress event that the client asked for. */
void kl_generation_send_progress(struct kl_generation *g);

/* Begins the stream, or the collection of a document; from now on errors are written by `format`.
 */
void kl_generation_begin(struct kl_generation *g);

/* Adds a new generation to the service's list. From now on it receives the events of its exchange,
 * and its client receives heartbeats. */
void kl_generation_add(struct kl_generation *g);

/* Ends a generation with an error, written in its format, and counts it. g is invalid afterwards.
 */
void kl_generation_fail(struct kl_generation *g, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Cancels the work of a generation and frees it, without an answer. */
void kl_generation_free(struct kl_generation *g);

/* Ends a choice early, as if this had been its limit. To be called by its `text` (dialect.h); the
 * text of tokens that the engine has computed in the meantime still comes. */
void kl_choice_end(struct kl_answer_choice *choice);

/* Processes the engine's events of all generations. */
void kl_generations_poll(struct kl_service *service);

/* Gives the engine further texts of requests for embeddings, if it has room. */
void kl_generations_submit(struct kl_service *service);

/* Sends heartbeats to clients that received nothing for most of a second, and ends requests whose
 * deadline passed before they were submitted. */
void kl_generations_tick(struct kl_service *service);

/* Whether the engine has work that does not wait for a slow client. */
bool kl_generations_want_work(struct kl_service *service);

/* Ends all generations with an error, counted as `counter`. */
void kl_generations_cut(struct kl_service *service, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Frees all generations without an answer; used when the service closes. */
void kl_generations_forget(struct kl_service *service);

#endif
