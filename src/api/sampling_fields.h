/* Reads the fields for sampling and for the end of an answer, common to the routes. */
#ifndef KL_API_SAMPLING_FIELDS_H
#define KL_API_SAMPLING_FIELDS_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/generation_request.h"

/* Reads the members of struct kl_sampling (engine.h), each optional, under the names that OpenAI or
 * llama-server have for them: temperature, top_p, top_k, min_p, typical_p, min_keep, seed,
 * repetition_penalty, repeat_last_n, frequency_penalty, presence_penalty, dry_multiplier, dry_base,
 * dry_allowed_length, dry_penalty_last_n, dry_sequence_breakers, ignore_eos, logit_bias. */
enum kl_status kl_sampling_fields(const json_t *body, struct kl_generation_request *request,
                                  struct kl_api_error *error);

/* Reads logprobs and top_logprobs. */
enum kl_status kl_logprobs_fields(const json_t *body, struct kl_generation_request *request,
                                  struct kl_api_error *error);

/* Reads a limit of the answer in tokens; 0: only the prompt is computed; -1: as much as the context
 * holds. */
enum kl_status kl_max_tokens_field(const json_t *body, const char *name, size_t *max_tokens,
                                   struct kl_api_error *error);

/* Reads `stop`: a string or an array of strings. */
enum kl_status kl_stop_field(const json_t *body, struct kl_generation_request *request,
                             struct kl_api_error *error);

#endif
