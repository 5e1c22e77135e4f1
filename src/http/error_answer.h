/*
 * Whole answers written directly to a connection's output, for requests that have no exchange or
 * whose answer could not be made. For the files of this room only.
 */
#ifndef KL_HTTP_ERROR_ANSWER_H
#define KL_HTTP_ERROR_ANSWER_H

#include <event2/buffer.h>

#include "http/api_error.h"

/* Room for the status line and all headers of an answer that no handler added: some 250 bytes. */
#define KL_ANSWER_OWN_HEADERS 512

/* Writes the status line and the headers that all answers have. */
void kl_answer_status_line(struct evbuffer *out, int status);

/* Writes a whole answer; the connection is to be closed after it. Without memory for its text the
 * answer is a 503; without memory at all nothing is written. */
void kl_error_answer_write(struct evbuffer *out, const struct kl_api_error *error,
                           enum kl_error_shape shape);

#endif
