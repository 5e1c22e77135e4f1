#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "bench/eval.h"
#include "bench/eval_batch.h"
#include "bench/npy_file.h"
#include "console/input.h"
#include "load/token_ids.h"

#define MAX_SEQUENCES 65536

/* Sequences of ids one behind the other; sequence i is ids[starts[i]..starts[i + 1]). */
struct sequences {
    struct kl_tokens ids;
    size_t *starts; /* [MAX_SEQUENCES + 1] */
    size_t n;
    size_t longest;
};

/* The ids that were read since the last one; empty lines are no sequences. */
static enum kl_status end_sequence(struct sequences *s, const struct kl_config *config,
                                   struct kl_error *err)
{
    size_t len = s->ids.len - s->starts[s->n];
    if (len == 0)
        return KL_OK;
    if (len > config->n_ctx_train)
        return kl_fail(err, KL_ERR_LIMIT,
                       "a sequence of %zu tokens, where this model was made for %zu", len,
                       config->n_ctx_train);
    if (s->n == MAX_SEQUENCES)
        return kl_fail(err, KL_ERR_LIMIT, "more than %d sequences", MAX_SEQUENCES);
    s->longest = len > s->longest ? len : s->longest;
    s->starts[++s->n] = s->ids.len;
    return KL_OK;
}

static enum kl_status read_sequences(const char *path, const struct kl_config *config,
                                     struct sequences *s, struct kl_error *err)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_INPUT_CAP);
    *s = (struct sequences){.starts = calloc(MAX_SEQUENCES + 1, sizeof s->starts[0])};
    enum kl_status status = KL_OK;
    if (s->starts == NULL)
        status = kl_fail_memory(err, "sequences", MAX_SEQUENCES * sizeof s->starts[0]);
    if (status == KL_OK)
        status = kl_read_text(path, &text, err);
    char *rest = text.data, *line;
    for (size_t number = 1; status == KL_OK && (line = strsep(&rest, "\n")) != NULL; number++) {
        status = kl_token_ids_parse(line, config->n_vocab, &s->ids, err);
        if (status == KL_OK)
            status = end_sequence(s, config, err);
        if (status != KL_OK)
            kl_error_prefix(err, "%s, line %zu", path, number);
    }
    if (status == KL_OK && s->n == 0)
        status = kl_fail(err, KL_ERR_INVALID, "%s holds no sequence of token ids", path);
    kl_buffer_release(&text);
    return status;
}

static enum kl_status write_row(void *context, size_t position, const float *logits,
                                struct kl_error *err)
{
    return kl_npy_write_row(context, position, logits, err);
}

/* One sequence after the other, in the same pages. */
static enum kl_status run_in_turn(struct kl_eval_batch *batch, const struct sequences *s,
                                  struct kl_sequence *sequence, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < s->n && status == KL_OK; i++) {
        kl_sequence_truncate(sequence, 0);
        status = kl_sequence_reserve(sequence, s->starts[i + 1] - s->starts[i], err);
        for (size_t at = s->starts[i]; at < s->starts[i + 1] && status == KL_OK; at++)
            status = kl_eval_batch_add(batch, sequence, s->ids.ids[at], at, true, err);
        if (status == KL_OK)
            status = kl_eval_batch_flush(batch, err);
    }
    return status;
}

/* The first tokens of all, then the second ones, ... */
static enum kl_status run_together(struct kl_eval_batch *batch, const struct sequences *s,
                                   struct kl_sequence **open, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < s->n && status == KL_OK; i++)
        status = kl_sequence_reserve(open[i], s->starts[i + 1] - s->starts[i], err);
    for (size_t t = 0; t < s->longest && status == KL_OK; t++) {
        for (size_t i = 0; i < s->n && status == KL_OK; i++) {
            size_t at = s->starts[i] + t;
            if (at < s->starts[i + 1])
                status = kl_eval_batch_add(batch, open[i], s->ids.ids[at], at, true, err);
        }
    }
    return status == KL_OK ? kl_eval_batch_flush(batch, err) : status;
}

/* Tokens that are kept at the same time; each sequence's last page may be almost empty. */
static size_t context_of(const struct sequences *s, bool together)
{
    return together ? s->ids.len + s->n * KL_KV_PAGE_TOKENS : s->longest + KL_KV_PAGE_TOKENS;
}

static enum kl_status check_context(const struct kl_loaded *loaded, const struct sequences *s,
                                    bool together, struct kl_error *err)
{
    struct kl_memory memory;
    kl_memory_read("", &memory);
    size_t n = context_of(s, together);
    uint64_t room = kl_memory_room(&memory);
    double bytes = (double)n * (double)kl_kv_bytes_per_token(loaded->model);
    if (room == 0 || bytes <= (double)room)
        return KL_OK;
    return kl_fail(err, KL_ERR_MEMORY,
                   "the context of %zu tokens takes %.0f MB, and %.0f MB are free%s", n,
                   bytes / 1e6, (double)room / 1e6,
                   together ? "; without --together only the longest sequence counts" : "");
}

static enum kl_status write_logits(const struct kl_loaded *loaded, size_t chunk, bool together,
                                   const struct sequences *s, struct kl_npy_file *npy,
                                   struct kl_error *err)
{
    struct kl_eval_batch batch;
    struct kl_kv_cache *cache = NULL;
    size_t n_open = 0, n = together ? s->n : 1;
    struct kl_sequence **open = calloc(n, sizeof open[0]);
    enum kl_status status = kl_eval_batch_open(&batch, loaded, chunk, write_row, npy, err);
    if (status == KL_OK && open == NULL)
        status = kl_fail_memory(err, "sequences", n * sizeof open[0]);
    if (status == KL_OK)
        status = kl_kv_cache_open(loaded->model, context_of(s, together), &cache, err);
    for (; status == KL_OK && n_open < n; n_open += status == KL_OK ? 1 : 0)
        status = kl_sequence_new(cache, &open[n_open], err);
    if (status == KL_OK)
        status =
            together ? run_together(&batch, s, open, err) : run_in_turn(&batch, s, open[0], err);
    for (size_t i = 0; i < n_open; i++)
        kl_sequence_free(open[i]);
    if (cache != NULL)
        kl_kv_cache_close(cache);
    free(open);
    kl_eval_batch_close(&batch);
    return status;
}

enum kl_status kl_eval_logits(const struct kl_loaded *loaded, const char *tokens_path,
                              const char *logits_path, size_t chunk, bool together,
                              struct kl_error *err)
{
    struct sequences s;
    struct kl_npy_file npy;
    const struct kl_config *config = kl_model_config(loaded->model);
    enum kl_status status = read_sequences(tokens_path, config, &s, err);
    if (status == KL_OK)
        status = check_context(loaded, &s, together, err);
    if (status == KL_OK)
        status = kl_npy_open(&npy, logits_path, s.ids.len, config->n_vocab, err);
    if (status == KL_OK)
        status = kl_npy_close(&npy, write_logits(loaded, chunk, together, &s, &npy, err), err);
    free(s.starts);
    kl_tokens_release(&s.ids);
    return status;
}
