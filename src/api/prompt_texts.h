/*
 * The texts of prompts, for formats that repeat them in the answer: what the tokens stand for,
 * special tokens by their names.
 *
 * They are written on the worker's thread, once the prompts are encoded, and kept with the
 * generation as JSON.
 */
#ifndef KL_API_PROMPT_TEXTS_H
#define KL_API_PROMPT_TEXTS_H

#include <jansson.h>
#include <stdbool.h>

#include "service/generation.h"

/* The most bytes of texts of prompts that an answer repeats. Those of 4096 ordinary tokens take
 * some 16 KiB. */
#define KL_MAX_PROMPT_TEXTS ((size_t)512 << 10)

/* Returns the text of tokens as a JSON string; NULL: no memory. */
json_t *kl_token_text_json(const struct kl_tokenizer *tokenizer, const struct kl_tokens *tokens);

/* Returns an array of the texts of all prompts, those beyond the limit as "" (*complete is false
 * then); NULL: no memory. */
json_t *kl_prompt_texts_json(const struct kl_computation *c, bool *complete);

/* `describe` of a request whose answer repeats its prompts (generation_request.h), with `echo` or
 * `verbose`: keeps the texts; a 400 if they are beyond the limit. */
enum kl_status kl_prompt_texts_describe(const struct kl_computation *c, struct kl_buffer *out,
                                        struct kl_api_error *error);

/* Returns the array that the generation keeps; NULL if it keeps none. A new reference. */
json_t *kl_prompt_texts_of(const struct kl_generation *g);

#endif
