/*
 * Answering: from the engine's events to the client.
 *
 * A generation is one exchange and its 1 to KL_MAX_CHOICES engine requests; intake.h makes it and
 * submits them. A stream is never silent for a second: comments say where it stands. Then a format
 * (native, OpenAI) turns what comes into events or one document. When the client is gone, its work
 * is cancelled at once, wherever it is: with the worker, in the queue, in prefill, in decode.
 */
#ifndef KL_SERVICE_GENERATION_H
#define KL_SERVICE_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "engine/engine.h"
#include "http/exchange.h"
#include "service/dialect.h"
#include "service/generation_request.h"
#include "service/metrics.h"
#include "service/service.h"

struct kl_preparation;

struct kl_answer_choice {
    struct kl_request *request; /* NULL when it is done */
    struct kl_buffer text;      /* of an answer in one piece */
    enum kl_finish finish;
    uint32_t prompt_tokens, cached_tokens, answer_tokens;
    double queue_seconds, prefill_seconds, decode_seconds;
    bool is_silent; /* its deadline came before any text, and its end was not told yet */
    uint64_t submit_ns, prefill_ns, first_text_ns; /* when, as far as it came; 0: not yet */
    uint64_t text_ns;                              /* of the last piece of text; 0: none yet */
};

struct kl_generation {
    struct kl_service *service;
    struct kl_exchange *exchange;
    const struct kl_answer_format *format; /* NULL: not known yet */
    bool
        begun; /* the head of a stream is sent, a document is collected: the rest is the format's */
    struct kl_preparation *preparation; /* until it is submitted */
    bool include_usage, return_progress;
    const char *service_tier;
    uint64_t deadline_ns;    /* 0: none */
    size_t n_left_out;       /* messages that did not fit */
    enum kl_counter refusal; /* what it counts as when it is not let in */
    int64_t created;         /* seconds since 1970 */
    struct kl_answer_choice choices[KL_MAX_CHOICES];
    size_t n_choices, n_open;
    /* before the first text: how far it is, for the comments in the stream */
    uint32_t position, prefill_done, prefill_total, prefill_cached;
    float wait_seconds;
    uint64_t prefill_ns; /* when it began, as far as is known: when it was last in the queue */
    bool has_text;
    struct kl_generation *previous, *next;
};

/* `text` and `error` of a format that is a document: collects the text of a choice; answers with
 * the error. */
enum kl_status kl_document_text(struct kl_generation *g, size_t choice, const char *text,
                                size_t len);
void kl_document_error(struct kl_generation *g, const struct kl_api_error *error);

/* "deadline", "repetition"; NULL: the model's own end, or a limit that the client set. */
const char *kl_ended_by(enum kl_finish finish);
/* A comment that says how far it is, or what the client asked for. */
void kl_generation_send_progress(struct kl_generation *g);

/* One that is new: from now on it hears of its client, and its client of it. */
void kl_generation_add(struct kl_generation *g);

/* It cannot be finished: said in the stream, if that is what runs, and counted. g is gone. */
void kl_generation_fail(struct kl_generation *g, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Cancels what runs; says nothing. */
void kl_generation_free(struct kl_generation *g);

/* The engine has events: moves all of them on. */
void kl_generations_poll(struct kl_service *service);

/* Tells clients that wait how far they are, when they heard nothing for most of a second. */
void kl_generations_tick(struct kl_service *service);

/* Is there one that the engine could get on with, one whose client takes what is made? */
bool kl_generations_want_work(struct kl_service *service);

/* Ends all with an error in the stream, or as the answer. */
void kl_generations_cut(struct kl_service *service, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Ends all without a word; when the server closes. */
void kl_generations_forget(struct kl_service *service);

#endif
