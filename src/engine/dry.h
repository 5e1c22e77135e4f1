/*
 * DRY, "don't repeat yourself": lowers the tokens that would continue a repetition.
 *
 * By p-e-w (https://github.com/oobabooga/text-generation-webui/pull/5677), with sequence breakers
 * and the linear search as in KoboldCpp and llama.cpp. The definition is in engine.h (struct
 * kl_dry). The state is the history alone, so a choice can be taken back. Linear in the window: a
 * nanosecond a token. The engine thread's; allocates nothing.
 */
#ifndef KL_ENGINE_DRY_H
#define KL_ENGINE_DRY_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "text/tokenizer.h"

/* Tokens of a match that are counted. */
#define KL_DRY_LONGEST 256

/* Finds where the end of a history occurred before in it: each earlier place whose last tokens
 * equal the last ones of the history. Returns the length of the longest such match, at most
 * KL_DRY_LONGEST tokens; 0: there is none. For the token t that follows a match, lengths[t] is
 * raised to the length of that match; lengths: by token, or NULL. */
size_t kl_dry_search(const int32_t *history, size_t n, uint32_t *lengths);

/* Returns how many tokens at the end of the history come after the last one that breaks sequences,
 * at most `most`: no match counts for more. A token breaks if it is a control token, or if the text
 * of a sequence breaker ends in it, wherever that begins. */
size_t kl_dry_unbroken(const struct kl_dry *dry, const struct kl_tokenizer *tokenizer,
                       const int32_t *history, size_t n, size_t most);

/* Whether a token is never lowered: a control token, or one whose text contains a breaker. */
bool kl_dry_is_exempt(const struct kl_dry *dry, const struct kl_tokenizer *tokenizer,
                      int32_t token);

/* The number to subtract from the logit of a token that would continue a match of this length; 0
 * below the allowed length, at most FLT_MAX. */
float kl_dry_penalty(const struct kl_dry *dry, size_t length);

#endif
