/*
 * Preparation: a request from its bytes to the tokens of its prompt, on the worker's thread.
 *
 * JSON, fields, chat template, tokenizer. Created by the loop, worked on by the worker, and given
 * back with tokens or an error. A short request takes one slice. Parsing is one slice for any
 * length, since jansson parses a text at once (1 MB: some 10 ms); the rest is cut into slices of
 * KL_PREPARATION_SLICE. While the model is being loaded, a request is given back when it is
 * checked, and is submitted and parsed again later: meanwhile only its text is kept, which counts
 * as held by its connection, and JSON takes several times as much. What takes time to release is
 * released on the worker's thread, too.
 */
#ifndef KL_SERVICE_PREPARATION_H
#define KL_SERVICE_PREPARATION_H

#include "base/worker.h"
#include "service/context_policy.h"
#include "service/dialect.h"
#include "service/generation_request.h"
#include "service/served.h"

/* Bytes of text: encoding takes about a millisecond. */
#define KL_PREPARATION_SLICE ((size_t)16 << 10)

struct kl_generation;
struct kl_service;

struct kl_preparation {
    struct kl_job job;
    bool on_worker;                   /* then the loop may use only the next two: */
    struct kl_generation *generation; /* NULL: nothing waits for it any more */
    struct kl_buffer own;             /* the text, if no connection holds it */

    const struct kl_dialect *dialect;
    const char *text; /* the body, or the query of a GET */
    size_t len;
    bool is_query;
    struct kl_generation_request of_headers; /* where parsing begins; owns nothing */
    struct kl_generation_request request;
    bool parsed, fitting;
    struct kl_served served; /* without an engine the request can only be checked */
    size_t ctx_size, max_tokens;
    struct kl_context_fit fit;

    bool complete; /* the tokens are in fit, and request has what submitting needs */
    enum kl_status status;
    struct kl_api_error error;
};

/* Creates one from the headers alone; NULL: refused with *error. */
struct kl_preparation *kl_preparation_new(struct kl_exchange *x, const struct kl_dialect *dialect,
                                          void (*done)(struct kl_job *job),
                                          struct kl_api_error *error);
void kl_preparation_free(struct kl_preparation *preparation);

/* Gives it to the worker, with the model that is served by now. */
void kl_preparation_submit(struct kl_preparation *preparation, struct kl_service *service);

/* Nothing waits for it any more: it is freed when the worker has returned it. */
void kl_preparation_abandon(struct kl_preparation *preparation, struct kl_exchange *x);

static inline struct kl_preparation *kl_preparation_of(struct kl_job *job)
{
    return (struct kl_preparation *)((char *)job - offsetof(struct kl_preparation, job));
}

#endif
