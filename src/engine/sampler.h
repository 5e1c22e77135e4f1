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
#include "engine/sampler_penalties.h"

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
size_t kl_sampler_bytes(const struct kl_sampler *sampler); /* for the plan */

/* KL_ERR_INVALID with a text that names the field. Biases are checked where their vocabulary is
 * known: ids below n_vocab, values that are numbers below infinity. */
enum kl_status kl_sampling_check(const struct kl_sampling *sampling, size_t n_vocab,
                                 struct kl_error *err);

/* The set of tokens of a history, updated as the history grows. */
struct kl_seen {
    uint64_t *words; /* [n_vocab / 64 + 1] */
    size_t n;        /* tokens of the history that were read; 0: a new history */
    size_t begin;    /* the first one that is in the set */
};

/* Sets *want: the logits that this sampling can use, of the tokens that may follow the history. Of
 * the history, nothing is added again that *seen contains already. seen is kept until the token is
 * chosen, and passed again for the next one. sampling->biases: in the order of kl_biases_order;
 * kept until the token is chosen. */
void kl_sampler_wants(const struct kl_sampling *sampling, const struct kl_history *history,
                      size_t n_vocab, struct kl_seen *seen, struct kl_want *want);

enum {
    KL_CHOICE_NO_NUMBER = -1, /* no logit is above minus infinity */
    KL_CHOICE_BANNED = -2     /* biases ban all that could be chosen */
};

/* Chooses the next token, or returns one of the values above. candidates: as the forward pass
 * filled them for want, without overflow; their content is used up. With want->all, those that are
 * not allowed are left out here. random is only used (once) when temperature is not 0. */
int32_t kl_sampler_choose(struct kl_sampler *sampler, const struct kl_sampling *sampling,
                          const struct kl_want *want, const struct kl_history *history,
                          struct kl_candidates *candidates, struct kl_random *random);

/* Copies the logits of all tokens, candidates for a want with `all`, to scratch memory: for
 * kl_logprobs, when a token is chosen. */
const float *kl_sampler_copy(struct kl_sampler *sampler, const struct kl_candidates *candidates);

#endif
