/*
 * Parts of answers that dialects have in common, as JSON, and the pieces of their SSE streams.
 */
#ifndef KL_API_ANSWER_JSON_H
#define KL_API_ANSWER_JSON_H

#include <jansson.h>

#include "service/generation.h"

#define KL_SSE_TYPE "text/event-stream; charset=utf-8"

/* {"total","cache","processed","time_ms"}, as llama-server reports it. A new reference. */
json_t *kl_progress_json(const struct kl_generation *g);

/* What a client should know of its answer and OpenAI's format has no field for: messages_left_out,
 * and ended_by (of one choice). A new reference; NULL when there is nothing to report. */
json_t *kl_notes_json(const struct kl_generation *g, enum kl_finish finish);

/* `heartbeat`, `end` and `error` of an SSE stream: a comment; the event "[DONE]" and the end; an
 * event with the error before these. */
void kl_sse_heartbeat(struct kl_generation *g, const char *text);
void kl_sse_end(struct kl_generation *g);
void kl_sse_error(struct kl_generation *g, const struct kl_api_error *error);

/* Makes the request own a JSON value, which its strings may point into. Takes value; NULL or no
 * memory for it is refused. Its source is then a JSON array, to which kl_chat_input_parse appends.
 */
enum kl_status kl_keep_json(struct kl_generation_request *request, json_t *value,
                            struct kl_api_error *error);

#endif
