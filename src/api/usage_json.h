/*
 * Figures of an answer that the dialects of OpenAI and llama-server share: `usage`, `timings`, and
 * the reason of its end.
 *
 * Pure functions, on the loop's thread; the caller owns what they return.
 */
#ifndef KL_API_USAGE_JSON_H
#define KL_API_USAGE_JSON_H

#include <jansson.h>

#include "service/generation.h"

/* Returns {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details":
 * {"cached_tokens"}}. A prompt counts once, however many choices it has. */
json_t *kl_usage_json(const struct kl_generation *g);

/* Returns the `timings` of n choices, from `first` on, as llama-server reports them. The first
 * token of an answer comes with its prompt, so the rate of the others leaves it out. */
json_t *kl_timings_json(const struct kl_generation *g, size_t first, size_t n);

/* The same of one choice that is still at work, as far as it is. */
json_t *kl_timings_so_far_json(const struct kl_generation *g, size_t choice);

/* Returns "stop" or "length", the reasons that OpenAI's clients know. */
const char *kl_finish_reason(enum kl_finish finish);

#endif
