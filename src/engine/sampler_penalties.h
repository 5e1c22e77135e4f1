/*
 * The steps of a choice that change logits: biases, repetition, frequency, presence, DRY (engine.h
 * defines them and their order).
 *
 * They read the history anew for each choice, so that a choice can be taken back: some nanoseconds
 * for each of its tokens, if a step needs it. The engine thread's; allocates nothing.
 */
#ifndef KL_ENGINE_SAMPLER_PENALTIES_H
#define KL_ENGINE_SAMPLER_PENALTIES_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "text/tokenizer.h"

/* The tokens before the one to be chosen. */
struct kl_history {
    const int32_t *tokens; /* [n] prompt, then answer; ids below n_vocab */
    size_t n, n_prompt;
    const struct kl_tokenizer *tokenizer; /* for DRY; NULL: nothing breaks a sequence */
};

/* Puts n biases in the order that the sampler needs, in place: those that lower (0 and below), then
 * those that raise, each by id; those of one id are added up. Returns the new n. */
size_t kl_biases_order(struct kl_logit *biases, size_t n);

/* The number of those that lower, which come first. */
size_t kl_biases_lowered(const struct kl_logit *biases, size_t n);

/* Whether some token may be changed after this history, beyond biases; *raised: and may rise. The
 * tokens that may be changed are those of the history from *from on. */
bool kl_penalties_apply(const struct kl_sampling *sampling, const struct kl_history *history,
                        size_t *from, bool *raised);

/* Changes the logits of the candidates, which are sorted by id. penalized: the tokens of the
 * history, or NULL if kl_penalties_apply said that none is changed; with a repetition penalty it is
 * exactly the whole history. counts: [n_vocab] scratch memory, of any content. */
void kl_penalties_run(const struct kl_sampling *sampling, const struct kl_history *history,
                      const uint64_t *penalized, uint32_t *counts,
                      struct kl_candidates *candidates);

#endif
