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

/* Bytes of a document that is made without the model: the tokens of the longest body take less. A
 * client that does not read it must not hold most of KL_HTTP_HELD_BYTES. */
#define KL_PREPARATION_MAX_COMPUTED ((size_t)8 << 20)

struct kl_generation;
struct kl_hosted;
struct kl_late_lines;
struct kl_model_host;
struct kl_service;

struct kl_preparation {
    struct kl_job job;
    bool on_worker; /* while it is set, the loop may use only this and the next three members */
    struct kl_generation *generation; /* NULL: abandoned */
    struct kl_buffer own;             /* the text, if no connection holds it: owns_text */
    bool owns_text;

    const struct kl_dialect *dialect;
    const char *text; /* the body, or the query of a GET */
    size_t len;
    bool is_query;
    struct kl_generation_request of_headers; /* read from the headers; parsing starts with a copy.
                                                Owns nothing */
    struct kl_generation_request request;
    bool parsed, encoding;            /* these are done; begun */
    const struct kl_model_host *host; /* NULL: there is one model */
    size_t number, wanted;            /* of its model, and of the model that the request names */
    struct kl_hosted *model;          /* that it is prepared for, which it uses on the worker */
    struct kl_served served; /* of this model; without an engine, the request is only checked */
    size_t ctx_size, max_tokens;
    struct kl_late_lines *late_lines; /* of the service; NULL: none */
    size_t n_late_lines;              /* that were moved */
    struct kl_context_fit fit;        /* of a conversation */
    struct kl_raw_encoding raw;       /* of prompts as they are */
    struct kl_tokens prediction;
    struct kl_buffer computed; /* the document of a request that is answered without the model */

    bool complete; /* the prompts are encoded, and request has the fields that submitting needs */
    enum kl_status status;
    struct kl_api_error error;
};

/* Creates a preparation and reads the headers only. Returns NULL with *error if they are wrong. */
struct kl_preparation *kl_preparation_new(struct kl_exchange *x, const struct kl_dialect *dialect,
                                          void (*done)(struct kl_job *job),
                                          struct kl_api_error *error);
void kl_preparation_free(struct kl_preparation *preparation);

/* Takes the body over from its connection, whose end must not end the request. Then drops it, in
 * either case, once it is read. */
void kl_preparation_take_body(struct kl_preparation *preparation, struct kl_exchange *x);
void kl_preparation_drop_body(struct kl_preparation *preparation, struct kl_exchange *x);

/* Returns the prompts of one that is complete, [*n]. */
const struct kl_tokens *kl_preparation_prompts(const struct kl_preparation *preparation, size_t *n);

/* Submits it to the worker, for a model. If that is not open, or not the one
 * that the request names, the worker returns it with `wanted` set and nothing encoded. */
void kl_preparation_submit(struct kl_preparation *preparation, struct kl_service *service,
                           struct kl_hosted *model);

/* Cancels it: its generation is gone. It is freed at once, or when the worker has returned it. */
void kl_preparation_abandon(struct kl_preparation *preparation, struct kl_exchange *x);

static inline struct kl_preparation *kl_preparation_of(struct kl_job *job)
{
    return (struct kl_preparation *)((char *)job - offsetof(struct kl_preparation, job));
}

#endif
