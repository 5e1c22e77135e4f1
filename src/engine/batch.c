#include "engine/batch.h"

#include <assert.h>
#include <stdlib.h>

static size_t history_words(const struct kl_batch *batch)
{
    return batch->n_vocab / 64 + 1;
}

size_t kl_batch_bytes(const struct kl_batch *batch)
{
    return batch->max_answers * batch->n_found * sizeof *batch->found +
           batch->n_slots * history_words(batch) * sizeof *batch->seen_words;
}

enum kl_status kl_batch_open(struct kl_batch *batch, size_t n_slots, size_t max_rows,
                             size_t max_answers, size_t model_vocab, size_t n_vocab,
                             struct kl_error *err)
{
    *batch = (struct kl_batch){
        .max_rows = max_rows,
        .max_answers = max_answers,
        .n_vocab = n_vocab,
        .n_found = (model_vocab + KL_LANES - 1) / KL_LANES * KL_LANES,
        .n_slots = n_slots,
    };
    size_t words = history_words(batch);
    batch->rows = calloc(max_rows, sizeof *batch->rows);
    batch->choices = calloc(batch->max_answers, sizeof *batch->choices);
    batch->found = calloc(batch->max_answers * batch->n_found, sizeof *batch->found);
    batch->seen_words = calloc(n_slots * words, sizeof *batch->seen_words);
    if (batch->rows == NULL || batch->choices == NULL || batch->found == NULL ||
        batch->seen_words == NULL)
        return kl_fail_memory(err, "the engine's logits", kl_batch_bytes(batch));
    for (size_t i = 0; i < batch->max_answers; i++)
        batch->choices[i].found = batch->found + i * batch->n_found;
    for (size_t slot = 0; slot < n_slots; slot++)
        batch->seen[slot].words = batch->seen_words + slot * words;
    return KL_OK;
}

void kl_batch_release(struct kl_batch *batch)
{
    free(batch->rows);
    free(batch->choices);
    free(batch->found);
    free(batch->seen_words);
    *batch = (struct kl_batch){0};
}

void kl_batch_reset_slot(struct kl_batch *batch, size_t slot)
{
    batch->seen[slot].n = 0;
}

void kl_batch_clear(struct kl_batch *batch)
{
    batch->n_rows = 0;
    batch->n_answers = 0;
    for (size_t slot = 0; slot < batch->n_slots; slot++)
        batch->answers[slot].n = 0;
}

/* The choice of the row of token `at`. */
static struct kl_choice *add_answer(struct kl_batch *batch, size_t slot,
                                    const struct kl_request *request, size_t at)
{
    assert(batch->n_answers < batch->max_answers);
    struct kl_choice *choice = &batch->choices[batch->n_answers++];
    struct kl_answer_rows *answers = &batch->answers[slot];
    if (answers->n == 0)
        *answers = (struct kl_answer_rows){.choices = choice, .seen = &batch->seen[slot]};
    answers->n++;
    kl_sampler_wants(&request->sampling, request->tokens, at + 1, batch->n_vocab, answers->seen,
                     choice);
    return choice;
}

void kl_batch_add(struct kl_batch *batch, size_t slot, const struct kl_request *request,
                  size_t n_rows)
{
    size_t at = kl_sequence_length(request->sequence), end = at + n_rows;
    assert(end <= request->n_tokens + request->n_proposed);
    assert(batch->n_rows + n_rows <= batch->max_rows);
    for (; at < end; at++) {
        bool answers = at + 1 >= request->n_tokens && kl_request_is_answer(request);
        struct kl_row *row = &batch->rows[batch->n_rows++];
        *row = (struct kl_row){.sequence = request->sequence, .token = request->tokens[at]};
        if (answers)
            row->choice = add_answer(batch, slot, request, at);
    }
}
