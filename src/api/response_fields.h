/*
 * Reads the fields of /v1/responses that other routes do not have, and repeats them in its answer.
 * Worker's.
 */
#ifndef KL_API_RESPONSE_FIELDS_H
#define KL_API_RESPONSE_FIELDS_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/generation_request.h"

/* Reads max_output_tokens, truncation (auto: the oldest turns are left out), include and
 * top_logprobs; checks metadata, and the type of fields that are only repeated. */
enum kl_status kl_response_fields(const json_t *body, struct kl_generation_request *request,
                                  struct kl_api_error *error);

/* Reads `reasoning`: effort "none" switches thinking off, the others are for the model to decide.
 * After kl_answer_fields. */
enum kl_status kl_response_reasoning_field(const json_t *body,
                                           struct kl_generation_request *request,
                                           struct kl_api_error *error);

/* Reads `text`: its format (text, json_object, json_schema) is the rule of the answer; verbosity
 * changes nothing. After kl_answer_fields. */
enum kl_status kl_response_text_field(const json_t *body, struct kl_generation_request *request,
                                      struct kl_api_error *error);

/* Returns the members of a response that repeat the request, with the values that hold where it
 * gives none; a new reference. */
json_t *kl_response_fields_repeat(const json_t *body, const struct kl_generation_request *request,
                                  bool store);

#endif
