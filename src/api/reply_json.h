/*
 * Sends JSON built with jansson, as an answer or as an event of a stream.
 */
#ifndef KL_API_REPLY_JSON_H
#define KL_API_REPLY_JSON_H

#include <jansson.h>

#include "http/exchange.h"

/* Sends a whole answer; takes body. If memory was short while it was built, sends a 503 that says
 * so; if body is NULL for another reason, it could not be encoded: sends a 500. */
void kl_reply_json(struct kl_exchange *x, int status, json_t *body);

/* Sends an SSE event with compact JSON; takes body. Cuts the connection if memory is short. */
void kl_stream_json(struct kl_exchange *x, json_t *body);

#endif
