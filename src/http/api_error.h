/*
 * A request that is refused: the HTTP status and the JSON every client of the OpenAI API knows,
 * {"error":{"message","type","param","code"}}. Values only; nothing here sends.
 */
#ifndef KL_HTTP_API_ERROR_H
#define KL_HTTP_API_ERROR_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

struct kl_api_error {
    int status;                    /* HTTP */
    const char *code;              /* for programs: a static string, or NULL */
    char param[96];                /* the field at fault; empty: none */
    char text[512];                /* for people */
    unsigned retry_after;          /* seconds, sent as Retry-After; 0: not sent */
    size_t n_prompt_tokens, n_ctx; /* told when n_ctx is not 0 */
};

/* Fills *error (all of it) and returns KL_ERR_INVALID. code and param may be NULL. */
enum kl_status kl_api_fail(struct kl_api_error *error, int status, const char *code,
                           const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The usual answer when the engine or something below it fails: the text of err, with a 503 and a
 * time to come again where memory was short, else with a 500. */
enum kl_status kl_api_fail_internal(struct kl_api_error *error, const struct kl_error *err);

/* The same 503 when it was this layer that had no memory for `what` ("the request"). */
enum kl_status kl_api_fail_memory(struct kl_api_error *error, const char *what);

/* A new reference; NULL when memory is short. */
json_t *kl_api_error_json(const struct kl_api_error *error);

#endif
