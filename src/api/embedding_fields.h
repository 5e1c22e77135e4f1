/*
 * The fields of requests for embeddings, in OpenAI's spelling and llama-server's.
 */
#ifndef KL_API_EMBEDDING_FIELDS_H
#define KL_API_EMBEDDING_FIELDS_H

#include <jansson.h>

#include "service/embedding_work.h"
#include "service/generation_request.h"

/* Reads the texts, by this name (static): a prompt as in prompt_fields.h, or {"content": [{"type":
 * "text", "text"}]}; or an array of up to KL_MAX_EMBEDDINGS of these. Special tokens are recognised
 * in texts, as when such models are trained. */
enum kl_status kl_embedding_input_field(const json_t *body, const char *name,
                                        struct kl_generation_request *request,
                                        struct kl_api_error *error);

/* Reads dimensions, truncate, pooling (last, mean, cls), encoding_format (float, base64) and
 * embd_normalize (2: yes, -1: no). Those that are absent leave their member unchanged. Also makes
 * the request a background one, unless a header said otherwise. */
enum kl_status kl_embedding_option_fields(const json_t *body, struct kl_generation_request *request,
                                          struct kl_api_error *error);

#endif
