/*
 * The error of a refused request: an HTTP status, and its JSON in the shape that the clients of a
 * route know. Values only; nothing here sends.
 */
#ifndef KL_HTTP_API_ERROR_H
#define KL_HTTP_API_ERROR_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

/* The JSON of errors, by the API that a route belongs to. */
enum kl_error_shape {
    KL_ERRORS_OPENAI,  /* {"error":{"message","type","param","code"}} */
    KL_ERRORS_OLLAMA,  /* {"error":"message"} */
    KL_ERRORS_MESSAGES /* {"type":"error","error":{"type","message"}}, Anthropic's */
};

struct kl_api_error {
    int status;                    /* HTTP */
    const char *code;              /* for programs: a static string, or NULL */
    char param[96];                /* the field at fault; empty: none */
    char text[512];                /* for people */
    unsigned retry_after;          /* seconds, sent as Retry-After; 0: not sent */
    size_t n_prompt_tokens, n_ctx; /* written if n_ctx is not 0 */
};

/* Fills *error (all of it) and returns KL_ERR_INVALID. code and param may be NULL. */
enum kl_status kl_api_fail(struct kl_api_error *error, int status, const char *code,
                           const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The usual error when the engine or a room below it fails: the text of err, with a 503 and
 * Retry-After if memory was short, else with a 500. */
enum kl_status kl_api_fail_internal(struct kl_api_error *error, const struct kl_error *err);

/* The same 503 when there was no memory for `what` ("the request"). */
enum kl_status kl_api_fail_memory(struct kl_api_error *error, const char *what);

/* Returns the `type` that clients of the OpenAI API distinguish: "not_found_error", ... */
const char *kl_api_error_type(const struct kl_api_error *error);

/* The most that kl_api_error_write appends: each byte of a text becomes up to 6. */
#define KL_API_ERROR_BYTES ((size_t)8 << 10)

/* Appends it as one line of JSON without a line end. Bytes that are not UTF-8 become U+FFFD: a text
 * may quote a client, and may have been cut anywhere. */
enum kl_status kl_api_error_write(const struct kl_api_error *error, enum kl_error_shape shape,
                                  struct kl_buffer *out);

#endif
