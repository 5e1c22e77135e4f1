/*
 * The error of a refused request: an HTTP status, and the JSON that clients of the OpenAI API know,
 * {"error":{"message","type","param","code"}}. Values only; nothing here sends.
 */
#ifndef KL_HTTP_API_ERROR_H
#define KL_HTTP_API_ERROR_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

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

/* The most that kl_api_error_write appends: each byte of a text becomes up to 6. */
#define KL_API_ERROR_BYTES ((size_t)8 << 10)

/* Appends it as one line of JSON without a line end. Bytes that are not UTF-8 become U+FFFD: a text
 * may quote a client, and may have been cut anywhere. */
enum kl_status kl_api_error_write(const struct kl_api_error *error, struct kl_buffer *out);

#endif
