/*
 * How a request wants to be treated, common to the routes: its priority and deadline (headers, so
 * that a proxy may set them), what happens to a conversation that is too long, whether progress is
 * told as JSON, and what the chat template is told.
 */
#ifndef KL_API_ANSWER_FIELDS_H
#define KL_API_ANSWER_FIELDS_H

#include <jansson.h>

#include "http/exchange.h"
#include "service/generation_request.h"

/* X-Deadline-Ms, at most: an hour. */
#define KL_MAX_DEADLINE_MS 3600000

/* What is not given stays as it is in *request. */

/* X-Priority (background, interactive) and X-Deadline-Ms. */
enum kl_status kl_answer_headers(const struct kl_exchange *x, struct kl_generation_request *request,
                                 struct kl_api_error *error);

/* context_policy (error, trim), loop_guard (on, off), return_progress, and those that switch
 * thinking on or off: enable_thinking, thinking, reasoning_effort, chat_template_kwargs; of several
 * the first of these counts. The input's `thinking` is among what they set: after
 * kl_chat_input_parse. */
enum kl_status kl_answer_fields(const json_t *body, struct kl_generation_request *request,
                                struct kl_api_error *error);

#endif
