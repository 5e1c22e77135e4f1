/*
 * Counting the tokens of a conversation without an answer: llama-server's `input_tokens` below the
 * routes for conversations. Worker's thread.
 */
#ifndef KL_API_INPUT_TOKENS_H
#define KL_API_INPUT_TOKENS_H

#include "service/generation_request.h"

/* `compute` of a request (generation_request.h): writes {"object": "response.input_tokens",
 * "input_tokens": the number}. */
enum kl_status kl_input_tokens_write(const struct kl_computation *computation,
                                     struct kl_buffer *out, struct kl_api_error *error);

#endif
