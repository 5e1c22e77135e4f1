/*
 * Writes answers as Ollama's API has them: lines of JSON (NDJSON), or one document.
 * https://github.com/ollama/ollama/blob/main/docs/api.md
 *
 * Each line has the model, as the request named it (generation->kept), and the time. A call of a
 * tool comes whole, in a line of its own; one that the limit of tokens cut does not come, since
 * clients would run it. While there is nothing to say, a line without text keeps the connection
 * alive: a blank one would be an error for clients. Thoughts of a model that thinks are the member
 * `thinking`, and no part of the text.
 *
 * Thread rule: the loop's, but for `compute`, which the worker calls.
 */
#ifndef KL_API_OLLAMA_FORMAT_H
#define KL_API_OLLAMA_FORMAT_H

#include <stdint.h>

#include "base/printer.h"
#include "service/dialect.h"
#include "service/generation.h"

#define KL_NDJSON_TYPE "application/x-ndjson"

extern const struct kl_answer_format kl_ollama_chat_stream, kl_ollama_chat_document;
extern const struct kl_answer_format kl_ollama_generate_stream, kl_ollama_generate_document;

/* `compute` of requests without messages or prompt: the answer says that the model is loaded, or
 * unloaded (keep_alive 0), which the default is not. */
enum kl_status kl_ollama_chat_loaded(const struct kl_computation *c, struct kl_buffer *out,
                                     struct kl_api_error *error);
enum kl_status kl_ollama_generate_loaded(const struct kl_computation *c, struct kl_buffer *out,
                                         struct kl_api_error *error);

/* Appends the time as RFC 3339 writes it, in UTC, with microseconds, as a JSON string. */
void kl_ollama_print_time(struct kl_printer *p, int64_t seconds, int64_t microseconds);

#endif
