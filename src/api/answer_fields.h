/*
 * Headers and fields common to the routes that do not concern sampling: priority and deadline
 * (headers, so that a proxy may set them), the policy for conversations that are too long, the loop
 * guard, progress as JSON, and thinking.
 */
#ifndef KL_API_ANSWER_FIELDS_H
#define KL_API_ANSWER_FIELDS_H

#include <jansson.h>

#include "http/exchange.h"
#include "service/generation_request.h"

/* The largest X-Deadline-Ms: an hour. */
#define KL_MAX_DEADLINE_MS 3600000

/* Both functions leave members of *request unchanged whose header or field is absent. */

/* Reads the headers X-Priority (background, interactive) and X-Deadline-Ms. */
enum kl_status kl_answer_headers(const struct kl_exchange *x, struct kl_generation_request *request,
                                 struct kl_api_error *error);

/* Reads context_policy (error, trim), loop_guard (on, off), return_progress, and the fields that
 * switch thinking on or off: enable_thinking, thinking, reasoning_effort, chat_template_kwargs; if
 * there are several, the first in this order counts. Sets the input's `thinking`, so it must be
 * called after kl_chat_input_parse. */
enum kl_status kl_answer_fields(const json_t *body, struct kl_generation_request *request,
                                struct kl_api_error *error);

/* Reads `service_tier`: "flex", OpenAI's name for cheaper and slower answers, means background
 * priority. The answer reports the tier. */
enum kl_status kl_tier_field(const json_t *body, struct kl_generation_request *request,
                             struct kl_api_error *error);

/* Reads `stream` and `stream_options`, as OpenAI's APIs have them. */
enum kl_status kl_stream_fields(const json_t *body, struct kl_generation_request *request,
                                struct kl_api_error *error);

#endif
