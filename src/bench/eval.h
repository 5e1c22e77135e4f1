/*
 * The two evaluations of `kinglet eval`: perplexity of a text, and logits of token sequences.
 *
 * Both take a model that is loaded with KL_LOAD_MODEL, use its thread counts and context size, and
 * print progress on stderr.
 */
#ifndef KL_BENCH_EVAL_H
#define KL_BENCH_EVAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "load/load.h"

struct kl_perplexity {
    double value, error; /* error: one standard error */
    size_t n_tokens;     /* scored */
    size_t n_windows, window;
};

/* The perplexity of a text file as llama.cpp's llama-perplexity defines it, in windows of the
 * model's context size. chunk: rows in one pass. KL_ERR_INVALID: the text is shorter than one
 * window. */
enum kl_status kl_eval_perplexity(const struct kl_loaded *loaded, const char *path, size_t chunk,
                                  struct kl_perplexity *result, struct kl_error *err);

/* Reads sequences of token ids (a line each; empty lines are ignored) and writes the logits after
 * each token to an .npy file: float32 [tokens of all sequences in order, n_vocab]. together: mixes
 * the sequences in each pass, which needs memory for all of them at once; the logits are the same
 * bits. */
enum kl_status kl_eval_logits(const struct kl_loaded *loaded, const char *tokens_path,
                              const char *logits_path, size_t chunk, bool together,
                              struct kl_error *err);

#endif
