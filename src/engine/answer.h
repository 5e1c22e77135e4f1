/*
 * From the candidates of a request's rows to the text of its answer.
 *
 * After a pass: choose a token from the candidates of each row (sampler.h), accept it, append its
 * text (detokenizer, stop strings, loop guard). The text is then sent by kl_request_send_text; the
 * caller shares pages between the two, so that a client that has seen text finds its pages shared.
 *
 * The engine thread's. Knows nothing of slots, pages and passes.
 */
#ifndef KL_ENGINE_ANSWER_H
#define KL_ENGINE_ANSWER_H

#include "engine/batch.h"
#include "engine/request.h"
#include "engine/sampler.h"

enum kl_answer {
    KL_ANSWER_CONTINUES,
    KL_ANSWER_STOPS,   /* the end token, a stop string, or biases ban all that may follow */
    KL_ANSWER_FULL,    /* max_tokens or the context */
    KL_ANSWER_REPEATS, /* the loop guard is on, and the answer only repeats itself */
    KL_ANSWER_FAILED   /* *err says why */
};

/* How a request finishes with an answer that does not continue. */
enum kl_finish kl_answer_finish(enum kl_answer answer);

/* Appends the tokens that the rule of the request forces next, as far as their text has room; the
 * end token ends the answer as if it had been chosen. KL_ANSWER_FAILED also if the rule allows no
 * token, or its limits are reached. */
enum kl_answer kl_answer_follow_rule(struct kl_request *request, struct kl_error *err);

/* Appends a token to the answer, and its text to the pending text; sets how many bytes at the end
 * of the pending text are withheld. An end token is not appended. */
enum kl_answer kl_answer_accept(struct kl_request *request, int32_t token, struct kl_error *err);

/* Sends the log-probabilities of the token that is accepted next, unless it will not be shown; for
 * a request that asks for them. logits: [n_vocab] f32 of the row that it follows, as computed. */
void kl_answer_send_logprobs(struct kl_request *request, const float *logits, size_t n_vocab,
                             int32_t token);

/* Chooses and accepts a token from each row of the request that has candidates, in order, and the
 * tokens that its rule forces behind it. Every row but the first computed a proposed token: the
 * rows go on while each token is the proposed one. *n_used is the number of rows, from the first
 * that has candidates on, whose tokens are part of the answer. The tokens of the rows behind these
 * are not part of the sequence of the request.
 *
 * rows: of the batch of this request; seen: of the request. */
enum kl_answer kl_answer_choose(struct kl_request *request, struct kl_sampler *sampler,
                                struct kl_answer_rows *rows, size_t *n_used, struct kl_error *err);

#endif
