/*
 * Runs rows of any sequences through the model in batches, and hands their logits to a function.
 *
 * One thread, the caller's; the pool of the forward pass computes. Does not plan memory.
 */
#ifndef KL_BENCH_EVAL_BATCH_H
#define KL_BENCH_EVAL_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "load/load.h"

/* Receives the logits [n_vocab] after the token at a position; they are valid during the call. An
 * error ends the run. */
typedef enum kl_status kl_logits_fn(void *context, size_t position, const float *logits,
                                    struct kl_error *err);

struct kl_eval_batch {
    struct kl_forward *forward;
    size_t n_vocab;
    size_t max, n; /* rows */
    struct kl_row *rows;
    size_t *positions; /* [max], for sink */
    float *logits;     /* [max, n_vocab] */
    kl_logits_fn *sink;
    void *context;
};

/* max: rows in one pass. Close the batch after either result. */
enum kl_status kl_eval_batch_open(struct kl_eval_batch *batch, const struct kl_loaded *loaded,
                                  size_t max, kl_logits_fn *sink, void *context,
                                  struct kl_error *err);
void kl_eval_batch_close(struct kl_eval_batch *batch);

/* Adds the next token of a sequence, which has room reserved for it, and runs the batch when it is
 * full. position is what sink receives; wanted: sink is called for this row. */
enum kl_status kl_eval_batch_add(struct kl_eval_batch *batch, struct kl_sequence *sequence,
                                 int32_t token, size_t position, bool wanted, struct kl_error *err);

/* Runs the rows that were added since the last pass. */
enum kl_status kl_eval_batch_flush(struct kl_eval_batch *batch, struct kl_error *err);

#endif
