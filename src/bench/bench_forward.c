/* The speed of the forward pass: prefill, decoding, and several sequences at once. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench/bench.h"
#include "console/interrupt.h"
#include "model/model.h"

static bool stop(void *context)
{
    (void)context;
    return kl_interrupt_pending();
}

struct run {
    struct kl_bench *b;
    struct kl_bench_counters counters;
    struct kl_bench_reader *reader; /* NULL: the computer is not measured */
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct kl_sequence *sequences[KL_BENCH_MAX_BATCH];
    struct kl_row *rows;                /* [chunk or largest batch] */
    struct kl_want greedy;              /* of all rows, as serve wants it */
    struct kl_candidates *candidates;   /* [largest batch] */
    float *logits;                      /* with --logits: [largest batch, n_vocab] */
    void *output;                       /* memory of `logits`, or of the candidates */
    int32_t tokens[KL_BENCH_MAX_BATCH]; /* the next token of each sequence */
    size_t n_vocab;
    uint64_t random;
    double *steps; /* seconds of each step of a test */
    size_t n_steps;
    struct pass_profile *passes; /* with --profile: of all passes of a shape */
    size_t n_passes;
    bool is_profiling; /* the passes are of that shape */
};

/* Where the time of one pass went, in seconds. */
struct pass_profile {
    double pass, between, beside, steps[KL_N_STEPS];
};

/* A fixed sequence (Knuth's MMIX generator), so that runs are comparable. */
static int32_t random_token(struct run *r)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((r->random >> 33) % r->n_vocab);
}

/* Asks for the result of sequence i: its most likely token, or all logits. */
static void want(struct run *r, size_t row, size_t i)
{
    if (r->b->options->logits) {
        r->rows[row].logits = r->logits + i * r->n_vocab;
    } else {
        r->rows[row].want = &r->greedy;
        r->rows[row].candidates = &r->candidates[i];
    }
}

/* Returns the most likely token: the cost of the output head depends on the text, so the text must
 * be one that the model writes. With all logits any token costs the same. */
static int32_t chosen_token(struct run *r, size_t i)
{
    const struct kl_candidates *candidates = &r->candidates[i];
    if (r->b->options->logits || candidates->n == 0)
        return random_token(r);
    const struct kl_logit *best = &candidates->logits[0];
    for (size_t k = 1; k < candidates->n; k++)
        if (candidates->logits[k].value > best->value)
            best = &candidates->logits[k];
    return best->id;
}

/* Runs the rows, and notes where the time goes if that is wanted. */
static enum kl_status run_pass(struct run *r, size_t n, struct kl_error *err)
{
    if (!r->is_profiling)
        return kl_forward_run(r->forward, r->rows, n, stop, NULL, err);
    struct pass_profile *pass = &r->passes[r->n_passes++];
    struct kl_profile profile = {0};
    kl_forward_profile(r->forward, &profile);
    uint64_t start = kl_now_ns();
    enum kl_status status = kl_forward_run(r->forward, r->rows, n, stop, NULL, err);
    *pass = (struct pass_profile){.pass = kl_seconds_since(start)};
    kl_forward_profile(r->forward, NULL);
    pass->between = pass->pass;
    for (size_t i = 0; i < KL_N_STEPS; i++) {
        pass->steps[i] = (double)profile.step_ns[i] * 1e-9;
        pass->between -= pass->steps[i];
    }
    const struct kl_threads threads = r->b->loaded->threads;
    for (size_t i = 0; i < KL_POOL_MAX_THREADS; i++)
        pass->beside += (double)profile.beside_ns[i] * 1e-9;
    pass->beside /= (double)(n == 1 ? threads.decode : threads.prefill);
    return status;
}

/* Computes n tokens of one sequence in batches of up to `chunk`, and the token that follows. */
static enum kl_status prefill(struct run *r, size_t n, size_t chunk, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t done = 0; done < n && status == KL_OK;) {
        size_t rows = n - done < chunk ? n - done : chunk;
        for (size_t i = 0; i < rows; i++)
            r->rows[i] = (struct kl_row){.sequence = r->sequences[0], .token = random_token(r)};
        done += rows;
        if (done == n)
            want(r, rows - 1, 0);
        status = run_pass(r, rows, err);
    }
    return status;
}

/* Computes the next token of each of n sequences in one forward pass. */
static enum kl_status decode_step(struct run *r, size_t n, struct kl_error *err)
{
    for (size_t i = 0; i < n; i++) {
        r->rows[i] = (struct kl_row){.sequence = r->sequences[i], .token = r->tokens[i]};
        want(r, i, i);
    }
    enum kl_status status = run_pass(r, n, err);
    for (size_t i = 0; i < n && status == KL_OK; i++)
        r->tokens[i] = chosen_token(r, i);
    return status;
}

static enum kl_status decode(struct run *r, size_t n_sequences, size_t n_steps,
                             struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n_sequences; i++)
        r->tokens[i] = random_token(r);
    for (size_t i = 0; i < n_steps && status == KL_OK; i++) {
        uint64_t start = kl_now_ns();
        status = decode_step(r, n_sequences, err);
        r->steps[r->n_steps++] = kl_seconds_since(start);
    }
    return status;
}

/* One run of a test: a prefill, or decoding steps of several sequences. */
struct shape {
    bool decode;
    size_t n_sequences;
    size_t depth;  /* tokens in the context of the one sequence before */
    size_t length; /* tokens of the prompt, or steps, of each sequence */
    size_t chunk;  /* of a prompt */
};

static void close_sequences(struct run *r, size_t n)
{
    while (n > 0)
        kl_sequence_free(r->sequences[--n]);
}

/* New sequences, with the tokens before the test; none after an error. */
static enum kl_status open_sequences(struct run *r, const struct shape *s, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    size_t n = 0;
    while (n < s->n_sequences && status == KL_OK) {
        status = kl_sequence_new(r->cache, &r->sequences[n], err);
        if (status == KL_OK)
            status = kl_sequence_reserve(r->sequences[n++], s->depth + s->length, err);
    }
    if (s->depth > 0 && status == KL_OK)
        status = prefill(r, s->depth, r->b->options->chunk, err);
    if (status != KL_OK)
        close_sequences(r, n);
    return status;
}

static enum kl_status run_test(struct run *r, const struct shape *s, struct kl_error *err)
{
    return s->decode ? decode(r, s->n_sequences, s->length, err)
                     : prefill(r, s->length, s->chunk, err);
}

/* Runs a test once, with new sequences. */
static enum kl_status run_once(struct run *r, const struct shape *s, double *seconds,
                               struct kl_error *err)
{
    enum kl_status status = open_sequences(r, s, err);
    if (status != KL_OK)
        return status;
    uint64_t start = kl_now_ns();
    status = run_test(r, s, err);
    *seconds = kl_seconds_since(start);
    close_sequences(r, s->n_sequences);
    return status;
}

uint64_t kl_bench_bytes_per_token(const struct kl_bench *b)
{
    struct kl_model_work work = kl_model_work(b->loaded->model);
    return work.bytes_per_token + (b->options->logits ? work.bytes_for_logits : 0);
}

/* Adds the matrices of a pass. */
static void add_pass(const struct kl_bench *b, size_t n_rows, size_t n_outputs,
                     struct kl_step_work *sum)
{
    const struct kl_model *model = b->loaded->model;
    for (enum kl_step i = 0; i < KL_N_STEPS; i++) {
        struct kl_step_work work = kl_model_step_work(model, i, n_rows, n_outputs);
        sum->bytes += work.bytes;
        sum->macs += work.macs;
    }
    if (b->options->logits && n_outputs > 0)
        sum->bytes += kl_model_work(model).bytes_for_logits;
}

/* Computes GB/s, GMAC/s and their shares of the computer's speed. */
static void rate(const struct run *r, const struct shape *s, struct kl_bench_result *result)
{
    size_t chunk = r->b->options->chunk;
    struct kl_step_work work = {0};
    for (size_t i = 0; s->decode && i < s->length; i++)
        add_pass(r->b, s->n_sequences, s->n_sequences, &work);
    for (size_t left = s->decode ? 0 : s->length; left > 0;) {
        size_t n = left < chunk ? left : chunk;
        left -= n;
        add_pass(r->b, n, left == 0, &work);
    }
    double seconds = (double)result->n_tokens / result->speed.median;
    result->gb_per_second = (double)work.bytes / seconds * 1e-9;
    result->gmac_per_second = (double)work.macs / seconds * 1e-9;
    if (result->read_limit > 0) {
        result->read_share = result->gb_per_second / result->read_limit;
        result->int8_share = result->gmac_per_second / result->int8_limit;
    }
}

static enum kl_status measure(struct run *r, const char *test, size_t n, const struct shape *s,
                              struct kl_error *err)
{
    struct kl_bench_result *result = &r->b->results[r->b->n_results];
    size_t repeat = r->b->options->repeat;
    *result =
        (struct kl_bench_result){.test = test, .n = n, .n_tokens = s->n_sequences * s->length};
    double seconds;
    r->n_steps = 0;
    enum kl_status status = run_once(r, s, &seconds, err); /* to warm up */
    r->n_steps = 0;
    double reads[KL_BENCH_MAX_REPEAT] = {0}, multiplies[KL_BENCH_MAX_REPEAT] = {0};
    double counted = (double)(repeat * result->n_tokens);
    for (size_t i = 0; i < repeat && status == KL_OK; i++) {
        struct kl_bench_counts before = kl_bench_counters_read(&r->counters);
        status = run_once(r, s, &seconds, err);
        struct kl_bench_counts after = kl_bench_counters_read(&r->counters);
        result->samples[i] = (double)result->n_tokens / seconds;
        result->per_token.instructions += (after.instructions - before.instructions) / counted;
        result->per_token.cycles += (after.cycles - before.cycles) / counted;
        if (r->reader != NULL)
            reads[i] = kl_bench_read_once(r->reader);
        if (r->reader != NULL)
            multiplies[i] = kl_bench_multiply_once(r->reader);
    }
    if (status != KL_OK)
        return status;
    result->read_limit = kl_bench_summarise(reads, repeat).median;
    result->int8_limit = kl_bench_summarise(multiplies, repeat).median;
    result->speed = kl_bench_summarise(result->samples, repeat);
    result->step = kl_bench_summarise(r->steps, r->n_steps);
    rate(r, s, result);
    r->b->n_results++;
    return KL_OK;
}

/* Checks that the tests fit into --memory. */
static enum kl_status check_memory(struct run *r, size_t max_tokens, struct kl_error *err)
{
    const struct kl_model *model = r->b->loaded->model;
    struct kl_plan plan = r->b->loaded->plan;
    size_t pages = (max_tokens + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    const struct kl_plan_kv kv = {.conversation = pages * KL_KV_PAGE_TOKENS,
                                  .parallel = 1,
                                  .page_tokens = KL_KV_PAGE_TOKENS,
                                  .token_bytes = kl_kv_bytes_per_token(model)};
    kl_plan_add(&plan, "buffers of the forward pass", kl_forward_bytes(r->forward), NULL);
    enum kl_status status = kl_plan_kv(&plan, &kv, err);
    kl_load_log_plan(&plan, status != KL_OK);
    return status;
}

/* The room that a run needs. */
struct sizes {
    size_t tokens; /* in the KV cache */
    size_t batch;  /* sequences */
    size_t rows;   /* of a pass */
    size_t steps;  /* of a test */
};

static enum kl_status open_run(struct run *r, const struct sizes *sizes, struct kl_error *err)
{
    const struct kl_bench_options *o = r->b->options;
    const struct kl_loaded *l = r->b->loaded;
    size_t n_logits = (r->n_vocab + KL_LANES - 1) / KL_LANES * KL_LANES;
    size_t row_bytes = o->logits ? r->n_vocab * sizeof(float) : n_logits * sizeof(struct kl_logit);
    size_t steps_bytes = sizes->steps * sizeof r->steps[0] + 1;
    r->rows = calloc(sizes->rows, sizeof r->rows[0]);
    r->candidates = calloc(sizes->batch, sizeof r->candidates[0]);
    r->output = malloc(sizes->batch * row_bytes);
    r->steps = malloc(steps_bytes);
    if (r->rows == NULL || r->candidates == NULL || r->output == NULL || r->steps == NULL)
        return kl_fail_memory(err, "a batch", sizes->batch * row_bytes + steps_bytes);
    r->logits = r->output;
    r->greedy = (struct kl_want){.n_vocab = r->n_vocab, .top_k = 1, .margin = INFINITY};
    for (size_t i = 0; i < sizes->batch; i++)
        r->candidates[i] = (struct kl_candidates){
            .logits = (struct kl_logit *)r->output + i * n_logits, .room = n_logits};
    enum kl_status status = kl_forward_open(l->model, sizes->rows, l->n_threads, &r->forward, err);
    if (status == KL_OK)
        status = check_memory(r, sizes->tokens, err);
    if (status != KL_OK)
        return status;
    kl_forward_set_threads(r->forward, l->threads);
    if ((o->parts & KL_BENCH_MACHINE) != 0)
        status = kl_bench_reader_open(kl_model_kernels(l->model), l->n_threads, &r->reader, err);
    if (status != KL_OK)
        return status;
    return kl_kv_cache_open(l->model, sizes->tokens, &r->cache, err);
}

static void close_run(struct run *r)
{
    if (r->cache != NULL)
        kl_kv_cache_close(r->cache);
    if (r->forward != NULL)
        kl_forward_close(r->forward);
    kl_bench_reader_close(r->reader);
    kl_bench_counters_close(&r->counters);
    free(r->rows);
    free(r->candidates);
    free(r->output);
    free(r->steps);
    free(r->passes);
}

static size_t largest(const struct kl_size_list *list, size_t at_least)
{
    for (size_t i = 0; i < list->len; i++)
        at_least = list->values[i] > at_least ? list->values[i] : at_least;
    return at_least;
}

typedef void show_fn(const struct kl_bench *b, const struct kl_bench_result *r);

/* Runs the tests in order: prefill of each length, decode, each batch size. */
static enum kl_status measure_all(struct run *r, size_t batch_steps, show_fn *show,
                                  struct kl_error *err)
{
    const struct kl_bench_options *o = r->b->options;
    enum kl_status status = KL_OK;
    size_t n_prompts = (o->parts & KL_BENCH_PREFILL) != 0 ? o->prompts.len : 0;
    size_t n_batches = (o->parts & KL_BENCH_BATCHES) != 0 && o->generate > 0 ? o->batches.len : 0;
    bool decodes = (o->parts & KL_BENCH_DECODE) != 0 && o->generate > 0;
    for (size_t i = 0; i < n_prompts && status == KL_OK; i++) {
        const struct shape s = {
            .n_sequences = 1, .length = o->prompts.values[i], .chunk = o->chunk};
        status = measure(r, "prefill", s.length, &s, err);
        if (status == KL_OK)
            show(r->b, &r->b->results[r->b->n_results - 1]);
    }
    if (decodes && status == KL_OK) {
        const struct shape s = {
            .decode = true, .n_sequences = 1, .depth = o->depth, .length = o->generate};
        status = measure(r, "decode", s.length, &s, err);
        if (status == KL_OK)
            show(r->b, &r->b->results[r->b->n_results - 1]);
    }
    for (size_t i = 0; i < n_batches && status == KL_OK; i++) {
        const struct shape s = {
            .decode = true, .n_sequences = o->batches.values[i], .length = batch_steps};
        status = measure(r, "batch", s.n_sequences, &s, err);
        if (status == KL_OK)
            show(r->b, &r->b->results[r->b->n_results - 1]);
    }
    return status;
}

enum kl_status kl_bench_measure_model(struct kl_bench *b, show_fn *show, struct kl_error *err)
{
    const struct kl_bench_options *o = b->options;
    size_t longest = o->depth + o->generate;
    if ((o->parts & KL_BENCH_PREFILL) != 0)
        longest = largest(&o->prompts, longest);
    if (longest > b->loaded->ctx_size)
        return kl_fail(err, KL_ERR_INVALID,
                       "%zu tokens do not fit into a context of %zu (--ctx-size)", longest,
                       b->loaded->ctx_size);
    /* a batch costs several times as much as one token, and longer runs show no more */
    size_t batch_steps = (o->generate + 3) / 4, max_batch = largest(&o->batches, 1);
    size_t pages = (batch_steps + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    size_t batch_tokens = max_batch * pages * KL_KV_PAGE_TOKENS;
    const struct sizes sizes = {.tokens = longest > batch_tokens ? longest : batch_tokens,
                                .batch = max_batch,
                                .rows = o->chunk > max_batch ? o->chunk : max_batch,
                                .steps = o->generate * o->repeat};

    struct run r = {.b = b, .n_vocab = kl_model_config(b->loaded->model)->n_vocab, .random = 1};
    kl_bench_counters_open(&r.counters, &b->machine); /* before the threads */
    enum kl_status status = open_run(&r, &sizes, err);
    if (status == KL_OK)
        status = measure_all(&r, batch_steps, show, err);
    close_run(&r);
    return status;
}

/* ---- where the time goes --------------------------------------------------------------------- */

/* The steps of decoding that are measured in each run of a shape. */
enum { PROFILE_STEPS = 16 };

/* The bytes and multiply-adds of attention: of the positions that each row sees, and of the pages
 * that the rows of one walk read together; in the last layer, of the rows with an output. */
static void count_attention(const struct run *r, const struct shape *s, struct kl_bench_step *step)
{
    const struct kl_model *model = r->b->loaded->model;
    const struct kl_config *c = kl_model_config(model);
    double seen = 0, read = 0;
    for (size_t i = 0; i < s->length; i++) {
        seen += (double)(s->depth + i + 1);
        if (s->decode || (i + 1) % KL_ATTEND_ROWS == 0 || i + 1 == s->length)
            read += (double)(s->depth + i + 1);
    }
    if (!s->decode) {
        double last_layer = 1 / (double)c->n_layers, last_row = (double)(s->depth + s->length);
        seen += (last_row - seen) * last_layer;
        read += (last_row - read) * last_layer;
    }
    double passes = s->decode ? (double)s->length : 1, sequences = (double)s->n_sequences;
    step->bytes = read * sequences / passes * (double)kl_kv_bytes_per_token(model);
    step->macs = seen * sequences / passes * 2 * (double)(c->n_heads * c->head_dim * c->n_layers);
    step->floor = step->bytes / (r->b->shapes[r->b->n_shapes].read_limit * 1e9);
}

static void count_products(const struct run *r, const struct shape *s, enum kl_step i,
                           struct kl_bench_step *step)
{
    const struct kl_bench_shape *out = &r->b->shapes[r->b->n_shapes];
    struct kl_step_work work =
        kl_model_step_work(r->b->loaded->model, i, out->n_rows, s->decode ? out->n_rows : 1);
    step->bytes = (double)work.bytes;
    step->macs = (double)work.macs;
    double reading = step->bytes / (out->read_limit * 1e9);
    double multiplying = step->macs / (out->int8_limit * 1e9);
    step->floor = reading > multiplying ? reading : multiplying;
}

/* The median over all passes of the number that stands at `offset` in each. */
static double median_of(const struct run *r, double *values, size_t offset)
{
    for (size_t i = 0; i < r->n_passes; i++)
        memcpy(&values[i], (const char *)&r->passes[i] + offset, sizeof values[i]);
    return kl_bench_summarise(values, r->n_passes).median;
}

static enum kl_status profile_shape(struct run *r, const struct shape *s, struct kl_error *err)
{
    struct kl_bench_shape *out = &r->b->shapes[r->b->n_shapes];
    size_t repeat = r->b->options->repeat;
    double reads[KL_BENCH_MAX_REPEAT], multiplies[KL_BENCH_MAX_REPEAT];
    *out = (struct kl_bench_shape){.n_rows = s->decode ? s->n_sequences : s->length,
                                   .n_sequences = s->n_sequences,
                                   .depth = s->depth};
    r->n_passes = 0;
    enum kl_status status = open_sequences(r, s, err);
    if (status != KL_OK)
        return status;
    for (size_t i = 0; i <= repeat && status == KL_OK; i++) { /* the first to warm up */
        r->n_steps = 0;
        for (size_t k = 0; k < s->n_sequences && status == KL_OK; k++) {
            kl_sequence_truncate(r->sequences[k], s->depth);
            status = kl_sequence_reserve(r->sequences[k], s->depth + s->length, err);
        }
        r->is_profiling = i > 0;
        if (status == KL_OK)
            status = run_test(r, s, err);
        r->is_profiling = false;
        if (i > 0)
            reads[i - 1] = kl_bench_read_once(r->reader);
        if (i > 0)
            multiplies[i - 1] = kl_bench_multiply_once(r->reader);
    }
    close_sequences(r, s->n_sequences);
    if (status != KL_OK)
        return status;
    out->passes = r->n_passes;
    out->read_limit = kl_bench_summarise(reads, repeat).median;
    out->int8_limit = kl_bench_summarise(multiplies, repeat).median;
    double *values = r->steps; /* no longer needed */
    out->seconds = median_of(r, values, offsetof(struct pass_profile, pass));
    out->between = median_of(r, values, offsetof(struct pass_profile, between));
    out->beside = median_of(r, values, offsetof(struct pass_profile, beside));
    for (enum kl_step i = 0; i < KL_N_STEPS; i++) {
        struct kl_bench_step *step = &out->steps[i];
        step->seconds =
            median_of(r, values, offsetof(struct pass_profile, steps) + i * sizeof(double));
        if (i == KL_STEP_ATTENTION)
            count_attention(r, s, step);
        else
            count_products(r, s, i, step);
    }
    r->b->n_shapes++;
    return KL_OK;
}

enum kl_status kl_bench_measure_profile(struct kl_bench *b,
                                        void (*show)(const struct kl_bench *b,
                                                     const struct kl_bench_shape *s),
                                        struct kl_error *err)
{
    const struct kl_bench_options *o = b->options;
    static const size_t batches[] = {1, 4, 8, 16}, prompts[] = {32, 128, 512};
    enum { N_BATCHES = sizeof batches / sizeof batches[0] };
    enum { N_PROMPTS = sizeof prompts / sizeof prompts[0] };
    const struct sizes sizes = {.tokens = b->loaded->ctx_size,
                                .batch = batches[N_BATCHES - 1],
                                .rows = prompts[N_PROMPTS - 1],
                                .steps = o->repeat * PROFILE_STEPS};
    if (sizes.tokens < 2 * sizes.rows)
        return kl_fail(err, KL_ERR_INVALID,
                       "a context of %zu tokens is too short for --profile, which needs %zu "
                       "(--ctx-size)",
                       sizes.tokens, 2 * sizes.rows);
    const size_t depth = sizes.tokens - prompts[1]; /* as far as both shapes fit */
    struct shape shapes[N_BATCHES + N_PROMPTS + 2];
    size_t n = 0;
    for (size_t i = 0; i < N_BATCHES; i++)
        shapes[n++] =
            (struct shape){.decode = true, .n_sequences = batches[i], .length = PROFILE_STEPS};
    for (size_t i = 0; i < N_PROMPTS; i++)
        shapes[n++] = (struct shape){.n_sequences = 1, .length = prompts[i], .chunk = prompts[i]};
    shapes[n++] =
        (struct shape){.decode = true, .n_sequences = 1, .length = PROFILE_STEPS, .depth = depth};
    shapes[n++] =
        (struct shape){.n_sequences = 1, .length = prompts[1], .chunk = prompts[1], .depth = depth};

    struct run r = {.b = b, .n_vocab = kl_model_config(b->loaded->model)->n_vocab, .random = 1};
    kl_bench_counters_open(&r.counters, &b->machine);
    enum kl_status status = open_run(&r, &sizes, err);
    r.passes = calloc(sizes.steps, sizeof r.passes[0]);
    if (status == KL_OK && r.passes == NULL)
        status = kl_fail_memory(err, "the times of passes", sizes.steps * sizeof r.passes[0]);
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        status = profile_shape(&r, &shapes[i], err);
        if (status == KL_OK)
            show(b, &b->shapes[b->n_shapes - 1]);
    }
    close_run(&r);
    return status;
}
