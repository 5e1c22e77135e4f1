#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "bench/eval.h"
#include "bench/eval_batch.h"
#include "console/input.h"

struct losses {
    const int32_t *tokens;
    size_t n_vocab;
    double sum, sum_of_squares; /* of -log p(token), natural */
    size_t n;
};

static enum kl_status score(void *context, size_t position, const float *logits,
                            struct kl_error *err)
{
    struct losses *p = context;
    (void)err;
    float largest = logits[0];
    for (size_t i = 1; i < p->n_vocab; i++)
        largest = fmaxf(largest, logits[i]);
    double sum = 0;
    for (size_t i = 0; i < p->n_vocab; i++)
        sum += exp((double)logits[i] - (double)largest);
    double loss = log(sum) + (double)largest - (double)logits[p->tokens[position + 1]];
    p->sum += loss;
    p->sum_of_squares += loss * loss;
    p->n++;
    return KL_OK;
}

static struct kl_perplexity conclude(const struct losses *p, size_t n_windows, size_t window)
{
    double n = (double)p->n;
    double mean = p->sum / n;
    double variance = p->sum_of_squares / n - mean * mean;
    return (struct kl_perplexity){
        .value = exp(mean),
        .error = p->n > 1 && variance > 0 ? exp(mean) * sqrt(variance / (n - 1)) : 0,
        .n_tokens = p->n,
        .n_windows = n_windows,
        .window = window};
}

/* The definition of llama.cpp's llama-perplexity, so that figures can be compared: windows of
 * ctx-size tokens that do not overlap, each from an empty context; the tokens of a window's second
 * half are scored given all before them in the window; what is left at the end is not used. */
static enum kl_status run_windows(const struct kl_loaded *loaded, size_t chunk,
                                  const struct kl_tokens *tokens, struct kl_kv_cache *cache,
                                  struct kl_perplexity *result, struct kl_error *err)
{
    size_t window = loaded->ctx_size, n_windows = tokens->len / window;
    struct losses p = {.tokens = tokens->ids, .n_vocab = kl_model_config(loaded->model)->n_vocab};
    struct kl_eval_batch batch;
    struct kl_sequence *sequence = NULL;
    enum kl_status status = kl_eval_batch_open(&batch, loaded, chunk, score, &p, err);
    if (status == KL_OK)
        status = kl_sequence_new(cache, &sequence, err);
    for (size_t w = 0; w < n_windows && status == KL_OK; w++) {
        kl_sequence_truncate(sequence, 0);
        status = kl_sequence_reserve(sequence, window, err);
        for (size_t i = 0; i + 1 < window && status == KL_OK; i++)
            status = kl_eval_batch_add(&batch, sequence, tokens->ids[w * window + i],
                                       w * window + i, i >= window / 2, err);
        if (status == KL_OK)
            status = kl_eval_batch_flush(&batch, err);
        if (status == KL_OK)
            fprintf(stderr, "window %zu of %zu: perplexity so far %.4f\n", w + 1, n_windows,
                    exp(p.sum / (double)p.n));
    }
    if (sequence != NULL)
        kl_sequence_free(sequence);
    kl_eval_batch_close(&batch);
    if (status == KL_OK)
        *result = conclude(&p, n_windows, window);
    return status;
}

enum kl_status kl_eval_perplexity(const struct kl_loaded *loaded, const char *path, size_t chunk,
                                  struct kl_perplexity *result, struct kl_error *err)
{
    struct kl_buffer text;
    struct kl_tokens tokens = {0};
    struct kl_kv_cache *cache = NULL;
    kl_buffer_init(&text, KL_INPUT_CAP);
    enum kl_status status = kl_read_input(path, &text, err);
    if (status == KL_OK) {
        const struct kl_span span = {.text = text.data, .len = text.len};
        status = kl_tokenizer_encode(loaded->tokenizer, &span, 1, &tokens, err);
    }
    if (status == KL_OK && tokens.len < loaded->ctx_size)
        status = kl_fail(err, KL_ERR_INVALID,
                         "%s has %zu tokens, less than one window of %zu (--ctx-size)", path,
                         tokens.len, loaded->ctx_size);
    if (status == KL_OK)
        status = kl_kv_cache_open(loaded->model, loaded->ctx_size, &cache, err);
    if (status == KL_OK)
        status = run_windows(loaded, chunk, &tokens, cache, result, err);
    if (cache != NULL)
        kl_kv_cache_close(cache);
    kl_tokens_release(&tokens);
    kl_buffer_release(&text);
    return status;
}
