/*
 * The fields of requests and the formats of answers that llama-server's two routes for completions
 * share. /completion (and /completions) has `prompt`; /infill has a gap.
 */
#ifndef KL_API_LLAMA_COMPLETION_H
#define KL_API_LLAMA_COMPLETION_H

#include <jansson.h>

#include "service/dialect.h"
#include "service/generation_request.h"

/* Reads all fields but those of the prompt, which must have been read before. Worker's. */
enum kl_status kl_llama_fields(const json_t *body, struct kl_generation_request *request,
                               struct kl_api_error *error);

extern const struct kl_answer_format kl_llama_stream, kl_llama_document;

#endif
