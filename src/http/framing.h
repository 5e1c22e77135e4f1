/*
 * Server-sent events as text: https://html.spec.whatwg.org/#parsing-an-event-stream
 * Pure functions; a failure leaves the buffer as it was.
 *
 * A comment is one line with one newline and no blank line after it: an empty line without data
 * before it ends the stream in some clients (openai-go before July 2026, old openai-python).
 */
#ifndef KL_HTTP_FRAMING_H
#define KL_HTTP_FRAMING_H

#include "base/buffer.h"

/* Appends "data: <line>\n\n". line has no line breaks (compact JSON never has). */
enum kl_status kl_sse_data(struct kl_buffer *out, const char *line);

/* Appends the same with a name: "event: <name>\ndata: <line>\n\n". */
enum kl_status kl_sse_event(struct kl_buffer *out, const char *name, const char *line);

/* Appends ": <text>\n"; line breaks in text become blanks. */
enum kl_status kl_sse_comment(struct kl_buffer *out, const char *text);

#endif
