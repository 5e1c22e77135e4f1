/*
 * Sends JSON built with jansson, as an answer or as an event of a stream.
 */
#ifndef KL_API_REPLY_JSON_H
#define KL_API_REPLY_JSON_H

#include <jansson.h>

#include "base/printer.h"
#include "http/exchange.h"

/* Sends a whole answer; takes body. If memory was short while it was built, sends a 503 that says
 * so; if body is NULL for another reason, it could not be encoded: sends a 500. */
void kl_reply_json(struct kl_exchange *x, int status, json_t *body);

/* Sends a document that was printed, and releases the printer. If its memory or jansson's was
 * short, sends a 503. */
void kl_reply_printed(struct kl_exchange *x, struct kl_printer *document);

/* Appends compact JSON to a buffer; takes value. Sets *error if memory is short. */
enum kl_status kl_write_json(struct kl_buffer *out, json_t *value, struct kl_api_error *error);

/* Sends an SSE event with compact JSON; takes body. Cuts the connection if memory is short. */
void kl_stream_json(struct kl_exchange *x, json_t *body);

#endif
