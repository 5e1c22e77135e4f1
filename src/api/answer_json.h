/*
 * Parts of answers that the dialects share: JSON objects, and events of SSE streams.
 */
#ifndef KL_API_ANSWER_JSON_H
#define KL_API_ANSWER_JSON_H

#include <jansson.h>

#include "base/printer.h"
#include "service/generation.h"

#define KL_SSE_TYPE "text/event-stream; charset=utf-8"

/* Returns {"total","cache","processed","time_ms"}, as llama-server reports it. A new reference. */
json_t *kl_progress_json(const struct kl_generation *g);

/* Returns the notes for which OpenAI's format has no field: messages_left_out, and ended_by (of one
 * choice). A new reference; NULL when there are none. */
json_t *kl_notes_json(const struct kl_generation *g, enum kl_finish finish);

/* Appends the notes of the first choice as the member "x_kinglet" of an object, behind a comma; if
 * there are any. */
void kl_print_notes(struct kl_printer *p, const struct kl_generation *g);

/* Implementations of `heartbeat`, `end` and `error` (dialect.h) for SSE streams: a comment; the
 * event
 * "[DONE]" and the end of the stream; an event with the error, then "[DONE]" and the end. */
void kl_sse_heartbeat(struct kl_generation *g, const char *text);
void kl_sse_end(struct kl_generation *g);
void kl_sse_error(struct kl_generation *g, const struct kl_api_error *error);

/* Sends the event with the error alone. */
void kl_sse_error_event(struct kl_generation *g, const struct kl_api_error *error);

/* Makes the request own a JSON value, whose strings its members may point to. Takes value; fails if
 * it is NULL or memory is short. The request's source is then a JSON array, to which
 * kl_chat_input_parse appends. */
enum kl_status kl_keep_json(struct kl_generation_request *request, json_t *value,
                            struct kl_api_error *error);

/* Parses a body into an object, which the request then owns (kl_keep_json). */
enum kl_status kl_read_body(const char *text, size_t len, struct kl_generation_request *request,
                            json_t **body, struct kl_api_error *error);

/* Answers with a 503 while the model is being loaded, and returns whether it is. */
bool kl_reply_loading(struct kl_exchange *x);

#endif
