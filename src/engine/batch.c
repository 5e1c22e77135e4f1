#include "engine/batch.h"

#include <assert.h>
#include <stdlib.h>

static size_t history_words(const struct kl_batch *batch)
{
    return batch->n_vocab / 64 + 1;
}

/* In logits: first those of wide rows. */
static size_t n_rooms(const struct kl_batch *batch)
{
    return batch->max_wide * batch->n_logits + batch->max_answers * KL_BATCH_NARROW;
}

size_t kl_batch_bytes(const struct kl_batch *batch)
{
    return n_rooms(batch) * sizeof *batch->logits +
           batch->max_answers * batch->n_mask_words * sizeof *batch->masks +
           batch->n_slots * history_words(batch) * sizeof *batch->seen_words;
}

enum kl_status kl_batch_open(struct kl_batch *batch, size_t n_slots, size_t max_rows,
                             size_t max_answers, size_t max_wide, size_t model_vocab,
                             size_t n_vocab, size_t n_mask_words, struct kl_error *err)
{
    *batch = (struct kl_batch){
        .max_rows = max_rows,
        .max_answers = max_answers,
        .max_wide = max_wide,
        .n_vocab = n_vocab,
        .n_logits = (model_vocab + KL_LANES - 1) / KL_LANES * KL_LANES,
        .n_mask_words = n_mask_words,
        .n_slots = n_slots,
    };
    size_t words = history_words(batch);
    batch->rows = calloc(max_rows, sizeof *batch->rows);
    batch->wants = calloc(batch->max_answers, sizeof *batch->wants);
    batch->candidates = calloc(batch->max_answers, sizeof *batch->candidates);
    batch->logits = calloc(n_rooms(batch), sizeof *batch->logits);
    batch->masks = calloc(batch->max_answers * n_mask_words, sizeof *batch->masks);
    batch->seen_words = calloc(n_slots * words, sizeof *batch->seen_words);
    if (batch->rows == NULL || batch->wants == NULL || batch->candidates == NULL ||
        batch->logits == NULL || batch->masks == NULL || batch->seen_words == NULL)
        return kl_fail_memory(err, "the engine's logits", kl_batch_bytes(batch));
    for (size_t slot = 0; slot < n_slots; slot++)
        batch->seen[slot].words = batch->seen_words + slot * words;
    return KL_OK;
}

void kl_batch_release(struct kl_batch *batch)
{
    free(batch->rows);
    free(batch->wants);
    free(batch->candidates);
    free(batch->logits);
    free(batch->masks);
    free(batch->seen_words);
    *batch = (struct kl_batch){0};
}

bool kl_batch_is_narrow(const struct kl_request *request)
{
    const struct kl_sampling *s = &request->sampling;
    /* more than the head screens for (head.c) are all logits */
    bool few = (s->temperature == 0.0f || (s->top_k > 0 && s->top_k <= 256)) && s->n_biases <= 256;
    bool raises =
        s->repetition_penalty < 1.0f || s->frequency_penalty < 0.0f || s->presence_penalty < 0.0f;
    return few && !raises && !request->logprobs && request->n_tokens >= request->wide_until;
}

void kl_batch_reset_slot(struct kl_batch *batch, size_t slot)
{
    batch->seen[slot].n = 0;
}

void kl_batch_clear(struct kl_batch *batch)
{
    batch->n_rows = 0;
    batch->n_answers = 0;
    batch->n_wide = 0;
    for (size_t slot = 0; slot < batch->n_slots; slot++)
        batch->answers[slot].n = 0;
}

/* Gives the answer i of the batch its room. */
static struct kl_candidates room_of(struct kl_batch *batch, size_t i, bool narrow)
{
    struct kl_logit *rooms = batch->logits;
    if (narrow)
        return (struct kl_candidates){.logits = rooms + batch->max_wide * batch->n_logits +
                                                i * KL_BATCH_NARROW,
                                      .room = KL_BATCH_NARROW};
    assert(batch->n_wide < batch->max_wide);
    return (struct kl_candidates){.logits = rooms + batch->n_wide++ * batch->n_logits,
                                  .room = batch->n_logits};
}

/* Asks for the candidates that may follow token `at`. state: of the rule, NULL: free. */
static void add_answer(struct kl_batch *batch, size_t slot, const struct kl_request *request,
                       size_t at, const struct kl_rule_state *state, struct kl_row *row)
{
    assert(batch->n_answers < batch->max_answers);
    size_t i = batch->n_answers++;
    struct kl_answer_rows *answers = &batch->answers[slot];
    if (answers->n == 0)
        *answers = (struct kl_answer_rows){.wants = &batch->wants[i],
                                           .candidates = &batch->candidates[i],
                                           .seen = &batch->seen[slot]};
    bool proposed = answers->n++ > 0;
    batch->candidates[i] = room_of(batch, i, proposed && kl_batch_is_narrow(request));
    struct kl_history history = kl_request_history(request, at + 1);
    kl_sampler_wants(&request->sampling, &history, batch->n_vocab, answers->seen, &batch->wants[i]);
    batch->wants[i].all = request->logprobs;
    if (state != NULL) {
        uint64_t *mask = batch->masks + i * batch->n_mask_words;
        batch->wants[i].n_allowed = kl_request_rule_mask(&request->rule, state, mask);
        batch->wants[i].allowed = mask;
    }
    row->want = &batch->wants[i];
    row->candidates = &batch->candidates[i];
}

/* Follows the rule of a request along its proposed tokens. */
struct reader {
    const struct kl_request *request;
    struct kl_rule_state state; /* behind the token of the row */
    size_t n_forced;            /* tokens behind it that are forced, as far as they are known */
};

/* Goes to the next row, whose token is `at`; returns whether the token behind it is open. A failure
 * of the rule is found by kl_answer_choose, where no token is allowed. */
static bool is_open(struct reader *reader, size_t at)
{
    const struct kl_request *r = reader->request;
    const int32_t *forced;
    struct kl_error err;
    if (at + 1 < r->n_tokens || !kl_request_is_answer(r))
        return false;
    if (r->rule.matcher == NULL)
        return true;
    if (at + 1 == r->n_tokens) { /* what is forced there was accepted already */
        reader->state = r->rule.state;
        return !r->rule.forces_more;
    }
    kl_request_rule_accept(&r->rule, &reader->state, r->tokens[at]);
    if (r->logprobs) /* of forced tokens, too: kl_answer_choose takes them one by one */
        return true;
    if (reader->n_forced > 0)
        reader->n_forced--;
    if (reader->n_forced > 0)
        return false;
    return kl_request_rule_forced(&r->rule, &reader->state, &forced, &reader->n_forced, &err) !=
               KL_OK ||
           reader->n_forced == 0;
}

void kl_batch_add(struct kl_batch *batch, size_t slot, const struct kl_request *request,
                  size_t n_rows)
{
    size_t at = kl_sequence_length(request->sequence), end = at + n_rows;
    struct reader reader = {.request = request};
    assert(end <= request->n_tokens + request->n_proposed);
    assert(batch->n_rows + n_rows <= batch->max_rows);
    if (batch->seen[slot].n > request->n_tokens)
        batch->seen[slot].n =
            0; /* it has tokens that were proposed for a pass that was abandoned */
    for (; at < end; at++) {
        struct kl_row *row = &batch->rows[batch->n_rows++];
        *row = (struct kl_row){.sequence = request->sequence,
                               .token = request->tokens[at],
                               .hidden = request->embedding != NULL &&
                                         kl_embedding_wants(request->embedding, at)};
        if (is_open(&reader, at))
            add_answer(batch, slot, request, at,
                       request->rule.matcher != NULL ? &reader.state : NULL, row);
    }
}
