/*
 * Log-probabilities of an answer in the form of OpenAI's Completions API: {"tokens",
 * "token_logprobs", "top_logprobs", "text_offset"}, arrays with an element for each token.
 *
 * Tokens that are not UTF-8 are written as "bytes:\xe4\xbd", as OpenAI does; text_offset counts
 * characters of the choice's text. `top_logprobs` has the chosen token, too, wherever it stands
 * among the most likely ones; with logprobs 0 its elements are null.
 *
 * Runs on the loop's thread, for the tokens of one event at a time.
 */
#ifndef KL_API_LEGACY_LOGPROBS_H
#define KL_API_LEGACY_LOGPROBS_H

#include <jansson.h>

#include "base/printer.h"
#include "service/generation.h"

/* Returns the object for a piece of a stream: the tokens whose text begins in it. NULL if the
 * request asked for none. To be called for every piece, since it counts characters. */
json_t *kl_legacy_logprobs_json(struct kl_generation *g, size_t choice, const char *text,
                                size_t len);

/* Implementation of `text` (dialect.h) for documents: collects the text and the arrays. */
enum kl_status kl_legacy_logprobs_text(struct kl_generation *g, size_t choice, const char *text,
                                       size_t len);

/* Prints the object of what kl_legacy_logprobs_text has collected. */
void kl_legacy_logprobs_print(const struct kl_answer_choice *choice, struct kl_printer *out);

#endif
