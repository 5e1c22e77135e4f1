/* kinglet bench: how fast the model runs on this computer, through the forward pass alone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/load.h"
#include "cli/options.h"

#define MAX_REPEAT 100

struct bench_options {
    struct kl_load_options load;
    struct kl_size_list prompts;
    size_t generate, repeat, chunk;
    bool json;
};

struct result {
    const char *test; /* "prefill" or "decode" */
    size_t n;
    double tokens_per_second; /* medians over the runs */
    double gb_per_second;     /* weights read, once for each batch */
    double gmac_per_second;
    double samples[MAX_REPEAT]; /* tokens/s of each run, sorted */
    size_t n_samples;
};

struct bench {
    const struct kl_loaded *loaded;
    const struct bench_options *options;
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct kl_row *rows; /* [chunk] */
    float *logits;       /* [n_vocab] */
    uint64_t random;
};

/* Any token costs the same; a fixed sequence (Knuth's MMIX generator) makes runs comparable. */
static int32_t next_token(struct bench *b)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((b->random >> 33) % kl_model_config(b->loaded->model)->n_vocab);
}

/* n tokens of a fresh sequence in batches of up to `batch` rows. Prefill needs the logits of the
 * last token only, decoding (batch 1) those of each. */
static enum kl_status run_once(struct bench *b, size_t n, size_t batch, double *seconds,
                               struct kl_error *err)
{
    struct kl_sequence *sequence;
    enum kl_status status = kl_sequence_new(b->cache, &sequence, err);
    if (status != KL_OK)
        return status;
    status = kl_sequence_reserve(sequence, n, err);
    uint64_t start = kl_now_ns();
    for (size_t done = 0; done < n && status == KL_OK;) {
        size_t rows = n - done < batch ? n - done : batch;
        for (size_t i = 0; i < rows; i++)
            b->rows[i] = (struct kl_row){.sequence = sequence, .token = next_token(b)};
        done += rows;
        if (done == n || batch == 1)
            b->rows[rows - 1].logits = b->logits;
        status = kl_forward_run(b->forward, b->rows, rows, NULL, NULL, err);
    }
    *seconds = kl_seconds_since(start);
    kl_sequence_free(sequence);
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum kl_status measure(struct bench *b, const char *test, size_t n, size_t batch,
                              struct result *r, struct kl_error *err)
{
    *r = (struct result){.test = test, .n = n, .n_samples = b->options->repeat};
    double seconds;
    enum kl_status status = run_once(b, n, batch, &seconds, err); /* a run to warm up */
    for (size_t i = 0; i < r->n_samples && status == KL_OK; i++) {
        status = run_once(b, n, batch, &seconds, err);
        r->samples[i] = (double)n / seconds;
    }
    if (status != KL_OK)
        return status;
    qsort(r->samples, r->n_samples, sizeof r->samples[0], compare);
    size_t middle = r->n_samples / 2;
    r->tokens_per_second = r->n_samples % 2 == 1
                               ? r->samples[middle]
                               : (r->samples[middle - 1] + r->samples[middle]) / 2;

    struct kl_model_work work = kl_model_work(b->loaded->model);
    double median_seconds = (double)n / r->tokens_per_second;
    double batches = (double)((n + batch - 1) / batch);
    double heads = batch == 1 ? (double)n : 1;
    double macs = (double)work.macs_per_token * (double)n + (double)work.head_macs * heads;
    r->gb_per_second = (double)work.bytes_per_token * batches / median_seconds * 1e-9;
    r->gmac_per_second = macs / median_seconds * 1e-9;
    return KL_OK;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void print_row(const struct result *r)
{
    printf("%-8s %6zu %12.2f %10.2f %10.2f\n", r->test, r->n, r->tokens_per_second,
           r->gb_per_second, r->gmac_per_second);
    fflush(stdout);
}

static void print_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_json(const struct bench *b, const struct result *results, size_t n)
{
    printf("{\"results\":[");
    for (size_t i = 0; i < n; i++) {
        const struct result *r = &results[i];
        printf("%s{\"test\":\"%s\",\"n\":%zu,\"tokens_per_second\":%.4f,\"gb_per_second\":%.4f,"
               "\"gmac_per_second\":%.4f,\"samples\":[",
               i > 0 ? "," : "", r->test, r->n, r->tokens_per_second, r->gb_per_second,
               r->gmac_per_second);
        for (size_t j = 0; j < r->n_samples; j++)
            printf("%s%.4f", j > 0 ? "," : "", r->samples[j]);
        printf("]}");
    }
    printf("],\"model\":");
    print_string(b->loaded->location.name);
    printf(",\"file\":");
    print_string(b->loaded->location.path);
    printf(",\"kernels\":");
    print_string(kl_model_kernels(b->loaded->model)->name);
    printf(",\"cpu_features\":");
    print_string(kl_cpu_features());
    printf(",\"threads\":%zu,\"repeat\":%zu,\"chunk\":%zu,\"version\":\"%s\"}\n",
           b->loaded->n_threads, b->options->repeat, b->options->chunk, KL_VERSION);
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum kl_status measure_all(struct bench *b, struct kl_error *err)
{
    const struct bench_options *o = b->options;
    struct result results[KL_MAX_LIST + 1];
    size_t n = 0;
    enum kl_status status = KL_OK;
    if (!o->json) {
        printf("%s, %s kernels, %zu threads, medians of %zu\n", b->loaded->location.name,
               kl_model_kernels(b->loaded->model)->name, b->loaded->n_threads, o->repeat);
        printf("%-8s %6s %12s %10s %10s\n", "test", "n", "tokens/s", "GB/s", "GMAC/s");
    }
    for (size_t i = 0; i < o->prompts.len + 1 && status == KL_OK; i++) {
        bool decode = i == o->prompts.len;
        if (decode && o->generate == 0)
            break;
        status = decode ? measure(b, "decode", o->generate, 1, &results[n], err)
                        : measure(b, "prefill", o->prompts.values[i], o->chunk, &results[n], err);
        if (status == KL_OK && !o->json)
            print_row(&results[n]);
        n++;
    }
    if (status == KL_OK && o->json)
        print_json(b, results, n);
    return status;
}

static enum kl_status bench(const struct kl_loaded *loaded, const struct bench_options *o,
                            struct kl_error *err)
{
    struct bench b = {.loaded = loaded, .options = o, .random = 1};
    size_t longest = o->generate;
    for (size_t i = 0; i < o->prompts.len; i++)
        longest = o->prompts.values[i] > longest ? o->prompts.values[i] : longest;
    if (longest > loaded->ctx_size)
        return kl_fail(err, KL_ERR_INVALID,
                       "%zu tokens do not fit into a context of %zu (--ctx-size)", longest,
                       loaded->ctx_size);

    size_t n_vocab = kl_model_config(loaded->model)->n_vocab;
    enum kl_status status = KL_OK;
    b.rows = calloc(o->chunk, sizeof b.rows[0]);
    b.logits = malloc(n_vocab * sizeof b.logits[0]);
    if (b.rows == NULL || b.logits == NULL)
        status = kl_fail_memory(err, "a batch", n_vocab * sizeof b.logits[0]);
    if (status == KL_OK)
        status = kl_forward_open(loaded->model, o->chunk, loaded->n_threads, &b.forward, err);
    if (status == KL_OK)
        status = kl_kv_cache_open(loaded->model, longest, &b.cache, err);
    if (status == KL_OK)
        status = measure_all(&b, err);

    if (b.cache != NULL)
        kl_kv_cache_close(b.cache);
    if (b.forward != NULL)
        kl_forward_close(b.forward);
    free(b.rows);
    free(b.logits);
    return status;
}

int kl_run_bench(int argc, char **argv)
{
    struct bench_options o = {.load = {.cpu = "auto", .ctx_size = 4096},
                              .prompts = {.values = {32, 128, 512}, .len = 3},
                              .generate = 64,
                              .repeat = 5,
                              .chunk = KL_PREFILL_CHUNK};
    const struct kl_option table[] = {
        KL_LOAD_ROWS(o.load),
        {"prompt", 0, KL_OPTION_LIST, "N,N,...", "prefill so many tokens", &o.prompts, 1,
         KL_MAX_CTX_SIZE},
        {"generate", 0, KL_OPTION_SIZE, "N",
         "decode so many tokens, from an empty context; 0: none", &o.generate, 0, KL_MAX_CTX_SIZE},
        {"repeat", 0, KL_OPTION_SIZE, "R", "runs of each test, after one to warm up", &o.repeat, 1,
         MAX_REPEAT},
        {"chunk", 0, KL_OPTION_SIZE, "N", "prompt tokens in one batch, as serve does it", &o.chunk,
         1, 4096},
        {"json", 0, KL_OPTION_FLAG, NULL, "print one JSON object", &o.json, 0, 0},
    };
    const struct kl_command_line line = {
        .command = "bench",
        .about = "Measures prefill and decoding. GB/s counts the weights read, once for each "
                 "batch; GMAC/s the multiply-adds of the matrices.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    struct kl_loaded loaded;
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (kl_load(&loaded, &o.load, KL_LOAD_MODEL, &err) != KL_OK)
        return kl_load_report("bench", &err);
    enum kl_status status = bench(&loaded, &o, &err);
    kl_unload(&loaded);
    return status == KL_OK ? KL_EXIT_OK : kl_report("bench", &err);
}
