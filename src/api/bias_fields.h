/*
 * Reads `logit_bias`, as OpenAI and llama-server define it.
 */
#ifndef KL_API_BIAS_FIELDS_H
#define KL_API_BIAS_FIELDS_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/generation_request.h"

/* Reads an object whose names are token ids or texts, or an array of pairs [id or text, bias]. A
 * bias is -100 to 100, or false: never. A name that is a decimal number is an id; a text stands for
 * each of its tokens. The texts belong to body. */
enum kl_status kl_bias_field(const json_t *body, struct kl_generation_request *request,
                             struct kl_api_error *error);

#endif
