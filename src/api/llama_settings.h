/*
 * The settings of a request as llama-server reports them: `generation_settings` of its answers, and
 * the defaults in /props.
 *
 * Settings that this server has not have the values that switch them off. Pure functions; the
 * caller owns what they return.
 */
#ifndef KL_API_LLAMA_SETTINGS_H
#define KL_API_LLAMA_SETTINGS_H

#include <jansson.h>

#include "service/generation_request.h"

/* Returns the settings of a request. max_tokens: the limit of its answer, SIZE_MAX: none. */
json_t *kl_llama_settings_json(const struct kl_generation_request *request,
                               const struct kl_tokenizer *tokenizer, size_t max_tokens,
                               size_t ctx_size);

/* Reads `samplers`: an array of names, or a string of their letters. Those that are not named are
 * switched off; their order here is always the same (engine.h). To be called after
 * kl_sampling_fields. */
enum kl_status kl_llama_samplers_field(const json_t *body, struct kl_sampling *sampling,
                                       struct kl_api_error *error);

#endif
