/*
 * Reads the fields that requests of Ollama's API have in common: the name of the model, `options`,
 * `keep_alive`, `format`, `think`, `truncate`, `stream`.
 *
 * As there, an option out of its range is brought into it, and unknown names are ignored; a wrong
 * type is a 400. Options about the runner (num_ctx, num_gpu, use_mmap, ...) change nothing here.
 */
#ifndef KL_API_OLLAMA_FIELDS_H
#define KL_API_OLLAMA_FIELDS_H

#include <jansson.h>
#include <stdbool.h>

#include "http/api_error.h"
#include "service/generation_request.h"

/* Parses a body, which the request then owns, and reads `model` or `name`, and keep_alive. Answers
 * may echo the name: it is request->kept. */
enum kl_status kl_ollama_body(const char *text, size_t len, struct kl_generation_request *request,
                              const json_t **body, struct kl_api_error *error);

/* Reads what is about the answer: stream (true unless it says otherwise), options,
 * max_output_tokens, truncate, logprobs, top_logprobs, think, format, and the common extensions
 * (answer_fields.h). After the conversation was parsed. */
enum kl_status kl_ollama_answer_fields(const json_t *body, struct kl_generation_request *request,
                                       struct kl_api_error *error);

/* Refuses images, which no model that is served here sees; an empty array is none. where: of the
 * field, for the error. */
enum kl_status kl_ollama_check_images(const json_t *images, const char *where,
                                      struct kl_api_error *error);

/* Whether a request without a prompt asks to unload the model. */
static inline bool kl_ollama_unloads(const struct kl_generation_request *r)
{
    return r->has_keep_alive && !(r->keep_alive > 0 || r->keep_alive < 0);
}

#endif
