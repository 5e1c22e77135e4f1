/*
 * Generations: from the engine's events to the client.
 *
 * A generation is one exchange and its 1 to KL_MAX_CHOICES engine requests; intake.h creates it and
 * submits them. The format of its dialect makes bytes of its events (dialect.h). A stream is never
 * silent for a second: heartbeats report the queue position and the progress of the prompt. When
 * the client leaves, the work is cancelled at once, wherever it is: with the worker, in the queue,
 * in prefill, in decode.
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
#include "service/dialect.h"
#include "service/generation_request.h"
#include "service/metrics.h"
#include "service/service.h"

struct kl_preparation;

struct kl_answer_choice {
    struct kl_request *request; /* NULL when it is done */
    struct kl_buffer text;      /* of a document */
    enum kl_finish finish;
    uint32_t prompt_tokens, cached_tokens, answer_tokens;
    double queue_seconds, prefill_seconds, decode_seconds;
    bool is_silent; /* its deadline came before any text, and its end is not reported yet */
    uint64_t submit_ns, prefill_ns, first_text_ns; /* times of these steps; 0: not yet */
    uint64_t text_ns;                              /* time of the last piece of text; 0: none yet */
};

struct kl_generation {
    struct kl_service *service;
    struct kl_exchange *exchange;
    const struct kl_answer_format *format; /* NULL: not known yet */
    bool begun; /* a stream's head is sent, or a document is collected: the format has the rest */
    struct kl_preparation *preparation; /* until it is submitted */
    bool include_usage, return_progress;
    const char *service_tier;
    uint64_t deadline_ns;    /* 0: none */
    size_t n_left_out;       /* messages that did not fit */
    enum kl_counter refusal; /* how it is counted if it is refused */
    int64_t created;         /* seconds since 1970 */
    struct kl_answer_choice choices[KL_MAX_CHOICES];
    size_t n_choices, n_open;
    /* before the first text: its progress, for heartbeats */
    uint32_t position, prefill_done, prefill_total, prefill_cached;
    float wait_seconds;
    uint64_t prefill_ns; /* when prefill began, an estimate: when it was last in the queue */
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
/* Sends a heartbeat with its progress, or the progress event that the client asked for. */
void kl_generation_send_progress(struct kl_generation *g);

/* Adds a new generation: from now on it is notified of its client, and its client of its progress.
 */
void kl_generation_add(struct kl_generation *g);

/* Ends a generation with an error, as its format writes it, and counts it. g is invalid afterwards.
 */
void kl_generation_fail(struct kl_generation *g, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Cancels its work and frees it, without an answer. */
void kl_generation_free(struct kl_generation *g);

/* The engine has events: processes those of all generations. */
void kl_generations_poll(struct kl_service *service);

/* Sends heartbeats to clients that got nothing for most of a second, and ends requests whose
 * deadline passed before the engine had them. */
void kl_generations_tick(struct kl_service *service);

/* Whether the engine has work: a generation whose client takes its output. */
bool kl_generations_want_work(struct kl_service *service);

/* Ends all with an error, counted as `counter`. */
void kl_generations_cut(struct kl_service *service, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Frees all without an answer; when the service closes. */
void kl_generations_forget(struct kl_service *service);

#endif
