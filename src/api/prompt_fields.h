/*
 * Reads prompts as OpenAI's Completions API and llama-server take them: texts, ids of tokens, and
 * both mixed.
 *
 * A prompt is a string, an array of ids, an array of strings and ids (one text after the other), or
 * llama-server's {"prompt_string": a prompt}. Several prompts are an array of prompts. Special
 * tokens in their texts are recognised, since a prompt has nothing else to mark turns with.
 *
 * The strings belong to the JSON, which must outlive the prompts. Worker's thread.
 */
#ifndef KL_API_PROMPT_FIELDS_H
#define KL_API_PROMPT_FIELDS_H

#include <jansson.h>
#include <stdbool.h>

#include "http/api_error.h"
#include "service/generation_request.h"

/* Appends one prompt. field: its name for errors, static; special: whether special tokens are
 * recognised in its texts. */
enum kl_status kl_prompt_value(const json_t *value, const char *field, bool special,
                               struct kl_raw_input *raw, struct kl_api_error *error);

/* Whether a value is one prompt: it is no array, or one that contains an id. */
bool kl_is_one_prompt(const json_t *value);

/* Reads the field `prompt` of body, which is required: at least one prompt. */
enum kl_status kl_prompt_field(const json_t *body, struct kl_raw_input *raw,
                               struct kl_api_error *error);

/* Sets request->n_choices, the answers to each of the prompts that were read. A 400 if these are
 * more than KL_MAX_ANSWERS in all. */
enum kl_status kl_choices_of_prompts(size_t n, struct kl_generation_request *request,
                                     struct kl_api_error *error);

#endif
