#include "bench/eval_batch.h"

#include <stdlib.h>

enum kl_status kl_eval_batch_open(struct kl_eval_batch *b, const struct kl_loaded *loaded,
                                  size_t max, kl_logits_fn *sink, void *context,
                                  struct kl_error *err)
{
    *b = (struct kl_eval_batch){.n_vocab = kl_model_config(loaded->model)->n_vocab,
                                .max = max,
                                .sink = sink,
                                .context = context};
    b->rows = calloc(max, sizeof b->rows[0]);
    b->positions = calloc(max, sizeof b->positions[0]);
    b->logits = calloc(max * b->n_vocab, sizeof b->logits[0]);
    if (b->rows == NULL || b->positions == NULL || b->logits == NULL)
        return kl_fail_memory(err, "the logits of a batch", max * b->n_vocab * sizeof b->logits[0]);
    return kl_forward_open(loaded->model, max, loaded->n_threads, &b->forward, err);
}

void kl_eval_batch_close(struct kl_eval_batch *b)
{
    if (b->forward != NULL)
        kl_forward_close(b->forward);
    free(b->rows);
    free(b->positions);
    free(b->logits);
}

enum kl_status kl_eval_batch_flush(struct kl_eval_batch *b, struct kl_error *err)
{
    if (b->n == 0)
        return KL_OK;
    enum kl_status status = kl_forward_run(b->forward, b->rows, b->n, NULL, NULL, err);
    for (size_t i = 0; i < b->n && status == KL_OK; i++) {
        if (b->rows[i].logits != NULL)
            status = b->sink(b->context, b->positions[i], b->rows[i].logits, err);
    }
    b->n = 0;
    return status;
}

enum kl_status kl_eval_batch_add(struct kl_eval_batch *b, struct kl_sequence *sequence,
                                 int32_t token, size_t position, bool wanted, struct kl_error *err)
{
    b->rows[b->n] = (struct kl_row){.sequence = sequence,
                                    .token = token,
                                    .logits = wanted ? b->logits + b->n * b->n_vocab : NULL};
    b->positions[b->n++] = position;
    return b->n == b->max ? kl_eval_batch_flush(b, err) : KL_OK;
}
