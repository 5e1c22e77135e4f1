/*
 * The rows of one step, and the candidates of those that need a next token.
 *
 * Built anew for each step: kl_batch_clear, then kl_batch_add for each slot that has rows. Owned by
 * the engine thread; allocates nothing after _open. Does not decide how many rows a slot gets
 * (scheduler.h), nor reserve pages for them.
 */
#ifndef KL_ENGINE_BATCH_H
#define KL_ENGINE_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "model/model.h"

/* The rows of one request whose next token is not known, in order: of its last token, and of each
 * token that is proposed to follow. Where a rule forces the next token there is no such row. */
struct kl_answer_rows {
    const struct kl_want *wants;      /* [n] */
    struct kl_candidates *candidates; /* [n] filled by the pass */
    size_t n;
    struct kl_seen *seen; /* of the request */
};

/* Room for the candidates of a row that is only proposed, if its request limits them (top_k): the
 * logits of all groups that the head computes for them, usually some hundreds. Where there are
 * more, the row is as if it had not been proposed. */
#define KL_BATCH_NARROW 8192

struct kl_batch {
    struct kl_row *rows; /* [max_rows] */
    size_t n_rows, max_rows;
    struct kl_answer_rows answers[KL_MAX_PARALLEL]; /* by slot */
    struct kl_want *wants;                          /* [max_answers] */
    struct kl_candidates *candidates;               /* [max_answers] */
    uint64_t *masks;                                /* [max_answers][n_mask_words] of rules */
    size_t n_mask_words;
    size_t n_answers, max_answers;
    size_t n_vocab;          /* ids that may be chosen */
    struct kl_logit *logits; /* [max_wide][n_logits] and [max_answers][KL_BATCH_NARROW] */
    size_t n_logits;         /* the model's vocabulary, rounded up to KL_LANES */
    size_t n_wide, max_wide; /* rows of max_answers that have room for all logits */
    struct kl_seen seen[KL_MAX_PARALLEL]; /* by slot */
    uint64_t *seen_words;                 /* [n_slots][n_vocab / 64 + 1] the memory of seen */
    size_t n_slots;
};

/* max_rows: rows of one batch; max_answers: of these, rows with candidates; max_wide: of these,
 * rows with room for all logits, at least n_slots. model_vocab: ids for which the model computes
 * logits; n_vocab <= model_vocab of them may be chosen. n_mask_words: of a mask of allowed tokens.
 * To be released even if it fails. */
enum kl_status kl_batch_open(struct kl_batch *batch, size_t n_slots, size_t max_rows,
                             size_t max_answers, size_t max_wide, size_t model_vocab,
                             size_t n_vocab, size_t n_mask_words, struct kl_error *err);
void kl_batch_release(struct kl_batch *batch);
size_t
kl_batch_bytes(const struct kl_batch *batch); /* of logits, masks and histories, for the plan */

/* Whether proposed rows of this request need only little room. */
bool kl_batch_is_narrow(const struct kl_request *request);

/* A slot has another request. */
void kl_batch_reset_slot(struct kl_batch *batch, size_t slot);

void kl_batch_clear(struct kl_batch *batch);

/* Adds the next n_rows tokens of the request, from the end of its sequence on; the last of them may
 * be proposed ones, which its rule allows. Each row of a request to answer whose next token is not
 * known gets candidates, among what the rule allows. */
void kl_batch_add(struct kl_batch *batch, size_t slot, const struct kl_request *request,
                  size_t n_rows);

#endif
