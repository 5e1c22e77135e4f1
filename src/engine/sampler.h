/*
 * Logits to the next token.
 *
 * Deterministic: the same logits, history and seed give the same token. The sampler wants only the
 * candidates that it can choose, and never all logits if the choice is limited (greedy, top-k). It
 * never sorts the vocabulary: top-k and top-p select partially, and the draw visits the selection
 * in the order of the ids. The engine thread's; allocates nothing after _open.
 *
 * A NaN counts as minus infinity, plus infinity as the largest float. A token at minus infinity is
 * never chosen.
 */
#ifndef KL_ENGINE_SAMPLER_H
#define KL_ENGINE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/engine.h"

/* xoshiro256** 1.0, Blackman and Vigna 2018, https://prng.di.unimi.it/xoshiro256starstar.c (public
 * domain), seeded by SplitMix64 as its authors advise. One per request. */
struct kl_random {
    uint64_t state[4];
};
void kl_random_init(struct kl_random *random, uint64_t seed);
uint64_t kl_random_next(struct kl_random *random);
double kl_random_unit(struct kl_random *random); /* [0, 1), 53 bits */

/* Scratch memory for a vocabulary; shared by all requests of an engine. */
struct kl_sampler;

enum kl_status kl_sampler_open(size_t n_vocab, struct kl_sampler **sampler, struct kl_error *err);
void kl_sampler_close(struct kl_sampler *sampler);

/* KL_ERR_INVALID with a text that names the field. */
enum kl_status kl_sampling_check(const struct kl_sampling *sampling, struct kl_error *err);

/* The set of tokens of a history, updated as the history grows. */
struct kl_seen {
    uint64_t *words; /* [n_vocab / 64 + 1] */
    size_t n;        /* tokens of the history that are in the set; 0: a new history */
};

/* Sets *want: the logits that this sampling can use, of the tokens that `history` (prompt and
 * answer so far, ids below n_vocab) may be followed by. Of the history nothing is read that *seen
 * contains already. seen is kept until the token is chosen, and passed again for the next one. */
void kl_sampler_wants(const struct kl_sampling *sampling, const int32_t *history, size_t n_history,
                      size_t n_vocab, struct kl_seen *seen, struct kl_want *want);

/* Chooses the next token; -1 when no logit is above minus infinity. candidates: as the forward pass
 * filled them for want, without overflow; their content is used up. random is only used (once) when
 * temperature is not 0. */
int32_t kl_sampler_choose(struct kl_sampler *sampler, const struct kl_sampling *sampling,
                          const struct kl_want *want, struct kl_candidates *candidates,
                          struct kl_random *random);

#endif
