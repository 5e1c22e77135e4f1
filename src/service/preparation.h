/*
 * Preparation: turns the bytes of a request into the tokens of its prompt, on the worker's thread.
 *
 * Parses JSON and fields, renders the chat template, and encodes the text. Created by the loop,
 * processed by the worker, and returned with tokens or an error. A short request takes one slice.
 * Parsing is one slice for any length, since jansson parses a text at once (1 MB: some 10 ms); the
 * rest is cut into slices of KL_PREPARATION_SLICE. While the model is being loaded, a request is
 * returned once it is checked, and is submitted and parsed again later. Meanwhile only its text is
 * kept, which counts as held by its connection; parsed JSON would take several times as much.
 * Objects that take time to release are released on the worker's thread, too.
 *
 * Thread rule: while on_worker is set, the worker's; otherwise the loop's.
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
    bool on_worker; /* while it is set, the loop may use only this and the next two members */
    struct kl_generation *generation; /* NULL: abandoned */
    struct kl_buffer own;             /* the text, if no connection holds it */

    const struct kl_dialect *dialect;
    const char *text; /* the body, or the query of a GET */
    size_t len;
    bool is_query;
    struct kl_generation_request of_headers; /* read from the headers; parsing starts with a copy.
                                                Owns nothing */
    struct kl_generation_request request;
    bool parsed, fitting;
    struct kl_served served; /* without an engine, the request is only checked */
    size_t ctx_size, max_tokens;
    struct kl_context_fit fit;
    struct kl_tokens prediction;

    bool complete; /* fit has the tokens, and request the fields that submitting needs */
    enum kl_status status;
    struct kl_api_error error;
};

/* Creates a preparation and reads the headers only. Returns NULL with *error if they are wrong. */
struct kl_preparation *kl_preparation_new(struct kl_exchange *x, const struct kl_dialect *dialect,
                                          void (*done)(struct kl_job *job),
                                          struct kl_api_error *error);
void kl_preparation_free(struct kl_preparation *preparation);

/* Submits it to the worker, with the model that is loaded by now, if any. */
void kl_preparation_submit(struct kl_preparation *preparation, struct kl_service *service);

/* Cancels it: its generation is gone. It is freed at once, or when the worker has returned it. */
void kl_preparation_abandon(struct kl_preparation *preparation, struct kl_exchange *x);

static inline struct kl_preparation *kl_preparation_of(struct kl_job *job)
{
    return (struct kl_preparation *)((char *)job - offsetof(struct kl_preparation, job));
}

#endif
