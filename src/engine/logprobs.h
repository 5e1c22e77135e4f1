/*
 * Log-probabilities of tokens: the softmax over a whole vocabulary, before any rule, penalty or
 * temperature. Pure functions; for any row of logits, whether its token was sampled or forced.
 */
#ifndef KL_ENGINE_LOGPROBS_H
#define KL_ENGINE_LOGPROBS_H

#include <stddef.h>

#include "engine/engine.h"

/* Writes the log-probability of the token, and then those of the n_top most likely tokens (the
 * highest first, the lower id first among equals), to out[0..1 + n_top): ln(e^logit / sum of all),
 * in double. Returns how many were written: there are no more than n_vocab most likely ones.
 *
 * logits: [n_vocab] f32. NaN counts as -INFINITY, INFINITY as FLT_MAX. If no
 * logit is above -INFINITY, all are as likely. n_top: at most KL_MAX_TOP_LOGPROBS. */
size_t kl_logprobs(const float *logits, size_t n_vocab, int32_t token, size_t n_top,
                   struct kl_logprob *out);

#endif
