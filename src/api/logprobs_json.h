/*
 * Log-probabilities of an answer as JSON, in OpenAI's form: {"token", "logprob", "bytes",
 * "top_logprobs": [{"token", "logprob", "bytes"}]}.
 *
 * Runs on the loop's thread, for the tokens of one event at a time.
 */
#ifndef KL_API_LOGPROBS_JSON_H
#define KL_API_LOGPROBS_JSON_H

#include <jansson.h>

#include "service/generation.h"

/* Returns the element of `content`; with_ids: and the "id" of each token, as llama-server adds it.
 * A new reference. */
json_t *kl_token_logprobs_json(const struct kl_tokenizer *tokenizer,
                               const struct kl_choice_token *token, bool with_ids);

/* Returns {"content": [...], "refusal": null} with the tokens that are part of the answer since the
 * last call; NULL if the request asked for none. A new reference. */
json_t *kl_logprobs_json(struct kl_generation *g, size_t choice);

/* Implementation of `text` (dialect.h) for documents: collects the text, and the log-probabilities
 * as the JSON text of the elements of `content`. */
enum kl_status kl_document_logprobs(struct kl_generation *g, size_t choice, const char *text,
                                    size_t len);

/* Sends a whole answer: document with a member "choices", whose elements (in the order of the
 * generation's) have a member "logprobs" with what kl_document_logprobs has collected. Takes both
 * arguments, without these members. Short of memory it does as kl_reply_json. */
void kl_reply_logprobs(struct kl_generation *g, json_t *document, json_t *choices);

#endif
