/*
 * Answers and stream events that are built with jansson.
 */
#ifndef KL_API_REPLY_JSON_H
#define KL_API_REPLY_JSON_H

#include <jansson.h>

#include "http/exchange.h"

/* A whole answer; takes body. Where memory was short, the answer is a 503 that says so; a body that
 * is NULL with memory enough could not be encoded: a 500. */
void kl_reply_json(struct kl_exchange *x, int status, json_t *body);

/* An SSE event with compact JSON; takes body. Without memory for it the connection is cut. */
void kl_stream_json(struct kl_exchange *x, json_t *body);

#endif
