/* kinglet eval: perplexity of a text, and logits of token sequences for comparisons. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/commands.h"
#include "console/input.h"
#include "console/options.h"
#include "console/terminal.h"
#include "load/load.h"
#include "load/token_ids.h"

#define DEFAULT_WINDOW 512
#define MAX_SEQUENCES  65536

struct eval_options {
    struct kl_load_options load;
    const char *ppl, *tokens, *logits;
    size_t chunk;
    bool together;
};

/* ---- batches --------------------------------------------------------------------------------- */

/* Takes the logits of one position. */
typedef enum kl_status sink_fn(void *context, size_t position, const float *logits,
                               struct kl_error *err);

/* Rows are collected until there are `max`, run, and their logits handed on. */
struct batch {
    struct kl_forward *forward;
    size_t n_vocab;
    size_t max, n;
    struct kl_row *rows;
    size_t *positions; /* [max] what the sink is told */
    float *logits;     /* [max, n_vocab] */
    sink_fn *sink;
    void *context;
};

static enum kl_status batch_open(struct batch *b, const struct kl_loaded *loaded, size_t max,
                                 sink_fn *sink, void *context, struct kl_error *err)
{
    *b = (struct batch){.n_vocab = kl_model_config(loaded->model)->n_vocab,
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

static void batch_close(struct batch *b)
{
    if (b->forward != NULL)
        kl_forward_close(b->forward);
    free(b->rows);
    free(b->positions);
    free(b->logits);
}

static enum kl_status batch_flush(struct batch *b, struct kl_error *err)
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

static enum kl_status batch_add(struct batch *b, struct kl_sequence *sequence, int32_t token,
                                size_t position, bool wanted, struct kl_error *err)
{
    b->rows[b->n] = (struct kl_row){.sequence = sequence,
                                    .token = token,
                                    .logits = wanted ? b->logits + b->n * b->n_vocab : NULL};
    b->positions[b->n++] = position;
    return b->n == b->max ? batch_flush(b, err) : KL_OK;
}

/* ---- perplexity ------------------------------------------------------------------------------ */

struct perplexity {
    const int32_t *tokens;
    size_t n_vocab;
    double sum, sum_of_squares; /* of -log p(token), natural */
    size_t n;
};

static enum kl_status score(void *context, size_t position, const float *logits,
                            struct kl_error *err)
{
    struct perplexity *p = context;
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

static void print_perplexity(const struct perplexity *p, size_t n_windows, size_t window)
{
    double n = (double)p->n;
    double mean = p->sum / n;
    double variance = p->sum_of_squares / n - mean * mean;
    double error = p->n > 1 && variance > 0 ? exp(mean) * sqrt(variance / (n - 1)) : 0;
    printf("perplexity %.4f +/- %.4f (%zu tokens scored, %zu windows of %zu)\n", exp(mean), error,
           p->n, n_windows, window);
}

/* The definition of llama.cpp's llama-perplexity, so that figures can be compared: windows of
 * ctx-size tokens that do not overlap, each from an empty context; the tokens of a window's second
 * half are scored given all before them in the window; what is left at the end is not used. */
static enum kl_status run_windows(const struct kl_loaded *loaded, const struct eval_options *o,
                                  const struct kl_tokens *tokens, struct kl_kv_cache *cache,
                                  struct kl_error *err)
{
    size_t window = loaded->ctx_size, n_windows = tokens->len / window;
    struct perplexity p = {.tokens = tokens->ids,
                           .n_vocab = kl_model_config(loaded->model)->n_vocab};
    struct batch batch;
    struct kl_sequence *sequence = NULL;
    enum kl_status status = batch_open(&batch, loaded, o->chunk, score, &p, err);
    if (status == KL_OK)
        status = kl_sequence_new(cache, &sequence, err);
    for (size_t w = 0; w < n_windows && status == KL_OK; w++) {
        kl_sequence_truncate(sequence, 0);
        status = kl_sequence_reserve(sequence, window, err);
        for (size_t i = 0; i + 1 < window && status == KL_OK; i++)
            status = batch_add(&batch, sequence, tokens->ids[w * window + i], w * window + i,
                               i >= window / 2, err);
        if (status == KL_OK)
            status = batch_flush(&batch, err);
        if (status == KL_OK)
            fprintf(stderr, "window %zu of %zu: perplexity so far %.4f\n", w + 1, n_windows,
                    exp(p.sum / (double)p.n));
    }
    if (sequence != NULL)
        kl_sequence_free(sequence);
    batch_close(&batch);
    if (status == KL_OK)
        print_perplexity(&p, n_windows, window);
    return status;
}

static enum kl_status eval_perplexity(const struct kl_loaded *loaded, const struct eval_options *o,
                                      struct kl_error *err)
{
    struct kl_buffer text;
    struct kl_tokens tokens = {0};
    struct kl_kv_cache *cache = NULL;
    kl_buffer_init(&text, KL_INPUT_CAP);
    enum kl_status status = kl_read_input(o->ppl, &text, err);
    if (status == KL_OK) {
        const struct kl_span span = {.text = text.data, .len = text.len};
        status = kl_tokenizer_encode(loaded->tokenizer, &span, 1, &tokens, err);
    }
    if (status == KL_OK && tokens.len < loaded->ctx_size)
        status = kl_fail(err, KL_ERR_INVALID,
                         "%s has %zu tokens, less than one window of %zu (--ctx-size)", o->ppl,
                         tokens.len, loaded->ctx_size);
    if (status == KL_OK)
        status = kl_kv_cache_open(loaded->model, loaded->ctx_size, &cache, err);
    if (status == KL_OK)
        status = run_windows(loaded, o, &tokens, cache, err);
    if (cache != NULL)
        kl_kv_cache_close(cache);
    kl_tokens_release(&tokens);
    kl_buffer_release(&text);
    return status;
}

/* ---- logits ---------------------------------------------------------------------------------- */

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

/* A file in NumPy's format 1.0: float32 [n_rows, n_vocab], rows written in any order.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
struct npy {
    const char *path;
    int fd;
    size_t header, row; /* bytes */
};

static enum kl_status write_at(const struct npy *npy, const void *data, size_t len, size_t offset,
                               struct kl_error *err)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = pwrite(npy->fd, at, len, (off_t)offset);
        if (n < 0 && errno != EINTR)
            return kl_fail_errno(err, "cannot write %s", npy->path);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            offset += (size_t)n;
        }
    }
    return KL_OK;
}

/* Half a file, whose header promises all rows, is not left. */
static enum kl_status npy_close(struct npy *npy, enum kl_status status, struct kl_error *err)
{
    struct stat st;
    bool is_file = fstat(npy->fd, &st) == 0 && S_ISREG(st.st_mode);
    if (close(npy->fd) != 0 && status == KL_OK)
        status = kl_fail_errno(err, "cannot write %s", npy->path);
    if (status != KL_OK && is_file)
        unlink(npy->path);
    return status;
}

static enum kl_status npy_open(struct npy *npy, const char *path, size_t n_rows, size_t n_vocab,
                               struct kl_error *err)
{
    *npy = (struct npy){.path = path, .header = 128, .row = n_vocab * sizeof(float)};
    npy->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (npy->fd < 0)
        return kl_fail_errno(err, "cannot create %s", path);
    char header[129];
    /* magic, version, length of the rest; the dictionary is padded so that data begins at 128 */
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(header + 10, 118,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", n_rows,
                     n_vocab);
    memset(header + 10 + n, ' ', (size_t)(118 - n));
    header[127] = '\n';
    enum kl_status status = write_at(npy, header, 128, 0, err);
    return status == KL_OK ? KL_OK : npy_close(npy, status, err);
}

static enum kl_status write_row(void *context, size_t position, const float *logits,
                                struct kl_error *err)
{
    const struct npy *npy = context;
    return write_at(npy, logits, npy->row, npy->header + position * npy->row, err);
}

/* One sequence after the other, in the same place. */
static enum kl_status run_in_turn(struct batch *batch, const struct sequences *s,
                                  struct kl_sequence *place, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < s->n && status == KL_OK; i++) {
        kl_sequence_truncate(place, 0);
        status = kl_sequence_reserve(place, s->starts[i + 1] - s->starts[i], err);
        for (size_t at = s->starts[i]; at < s->starts[i + 1] && status == KL_OK; at++)
            status = batch_add(batch, place, s->ids.ids[at], at, true, err);
        if (status == KL_OK)
            status = batch_flush(batch, err);
    }
    return status;
}

/* The first tokens of all, then the second ones, ... */
static enum kl_status run_together(struct batch *batch, const struct sequences *s,
                                   struct kl_sequence **places, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < s->n && status == KL_OK; i++)
        status = kl_sequence_reserve(places[i], s->starts[i + 1] - s->starts[i], err);
    for (size_t t = 0; t < s->longest && status == KL_OK; t++) {
        for (size_t i = 0; i < s->n && status == KL_OK; i++) {
            size_t at = s->starts[i] + t;
            if (at < s->starts[i + 1])
                status = batch_add(batch, places[i], s->ids.ids[at], at, true, err);
        }
    }
    return status == KL_OK ? batch_flush(batch, err) : status;
}

/* The tokens that are there at once; each sequence's last page may be almost empty. */
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

static enum kl_status write_logits(const struct kl_loaded *loaded, const struct eval_options *o,
                                   const struct sequences *s, struct npy *npy, struct kl_error *err)
{
    struct batch batch;
    struct kl_kv_cache *cache = NULL;
    size_t n_open = 0, n = o->together ? s->n : 1;
    struct kl_sequence **places = calloc(n, sizeof places[0]);
    enum kl_status status = batch_open(&batch, loaded, o->chunk, write_row, npy, err);
    if (status == KL_OK && places == NULL)
        status = kl_fail_memory(err, "sequences", n * sizeof places[0]);
    if (status == KL_OK)
        status = kl_kv_cache_open(loaded->model, context_of(s, o->together), &cache, err);
    for (; status == KL_OK && n_open < n; n_open += status == KL_OK ? 1 : 0)
        status = kl_sequence_new(cache, &places[n_open], err);
    if (status == KL_OK)
        status = o->together ? run_together(&batch, s, places, err)
                             : run_in_turn(&batch, s, places[0], err);
    for (size_t i = 0; i < n_open; i++)
        kl_sequence_free(places[i]);
    if (cache != NULL)
        kl_kv_cache_close(cache);
    free(places);
    batch_close(&batch);
    return status;
}

static enum kl_status eval_logits(const struct kl_loaded *loaded, const struct eval_options *o,
                                  struct kl_error *err)
{
    struct sequences s;
    struct npy npy;
    const struct kl_config *config = kl_model_config(loaded->model);
    enum kl_status status = read_sequences(o->tokens, config, &s, err);
    if (status == KL_OK)
        status = check_context(loaded, &s, o->together, err);
    if (status == KL_OK)
        status = npy_open(&npy, o->logits, s.ids.len, config->n_vocab, err);
    if (status == KL_OK)
        status = npy_close(&npy, write_logits(loaded, o, &s, &npy, err), err);
    free(s.starts);
    kl_tokens_release(&s.ids);
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum kl_status check_options(const struct eval_options *o, struct kl_error *err)
{
    if (o->ppl != NULL && o->tokens == NULL && o->logits == NULL)
        return KL_OK;
    if (o->ppl == NULL && o->tokens != NULL && o->logits != NULL)
        return KL_OK;
    return kl_fail(err, KL_ERR_INVALID,
                   "it takes either --ppl FILE, or --tokens FILE and --logits OUT.npy");
}

static void add_options(struct kl_option_table *table, struct eval_options *o)
{
    const struct kl_option rows[] = {
        {"ppl", 0, KL_OPTION_STRING, "FILE", "perplexity of this text, in windows of --ctx-size",
         &o->ppl, 0, 0},
        {"tokens", 0, KL_OPTION_STRING, "FILE", "a sequence of token ids on each line", &o->tokens,
         0, 0},
        {"logits", 0, KL_OPTION_STRING, "OUT.npy",
         "the logits after each token of --tokens, float32 [tokens of all sequences in order, "
         "vocabulary]",
         &o->logits, 0, 0},
        {"chunk", 0, KL_OPTION_SIZE, "N", "tokens in one batch", &o->chunk, 1, 4096},
        {"together", 0, KL_OPTION_FLAG, NULL,
         "mix all sequences of --tokens in each batch (the logits are the same)", &o->together, 0,
         0},
    };
    kl_load_add_options(table, &o->load);
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_eval(int argc, char **argv)
{
    struct eval_options o = {.load = {.ctx_size = DEFAULT_WINDOW}, .chunk = 64};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "eval",
        .about = "Judges the model: the perplexity of a text as llama.cpp's llama-perplexity "
                 "defines it, or the logits of given tokens.",
        .options = table.rows,
        .n_options = table.n,
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    struct kl_loaded loaded;
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (check_options(&o, &err) != KL_OK)
        return kl_report("eval", &err);
    if (kl_load(&loaded, &o.load, KL_LOAD_MODEL, &err) != KL_OK)
        return kl_load_report("eval", &err);
    enum kl_status status =
        o.ppl != NULL ? eval_perplexity(&loaded, &o, &err) : eval_logits(&loaded, &o, &err);
    kl_unload(&loaded);
    return status == KL_OK ? KL_EXIT_OK : kl_report("eval", &err);
}
