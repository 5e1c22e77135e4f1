/* kinglet bench: measures how fast the model runs on this computer, and how fast it could. */
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/bench_soak.h"
#include "cli/commands.h"
#include "console/interrupt.h"
#include "console/terminal.h"

/* ---- printing -------------------------------------------------------------------------------- */

static void print_machine(const struct kl_bench *b)
{
    const struct kl_bench_machine *m = &b->machine;
    printf("%s, %zu CPUs, %s%s\n", m->cpu[0] != '\0' ? m->cpu : "unknown processor", m->cpus,
           m->governor[0] != '\0' ? "governor " : "frequency governor not known", m->governor);
    for (size_t i = 0; i < m->n_points; i++)
        printf("%s%zu thread%s: reads %.1f GB/s, int8 %.1f GMAC/s", i == 0 ? "" : "; ",
               m->points[i].threads, m->points[i].threads == 1 ? "" : "s", m->points[i].read_gb,
               m->points[i].int8_gmac);
    if (m->n_points > 0)
        printf("\n");
    fflush(stdout);
}

static void print_start(const struct kl_bench_start *s)
{
    printf("start    %.3f s (%.3f..%.3f): file %.3f, tokenizer %.3f, weights %.3f, engine %.3f\n",
           s->all.median, s->all.p10, s->all.p90, s->file.median, s->tokenizer.median,
           s->weights.median, s->engine.median);
    fflush(stdout);
}

static void print_head(const struct kl_bench *b)
{
    printf("%-8s %6s %10s %17s %8s %6s %8s %6s", "test", "n", "tokens/s", "(p10..p90)", "GB/s",
           "read", "GMAC/s", "int8");
    printf("%s\n", b->machine.no_counters[0] == '\0' ? "  instr/token  per cycle" : "");
}

static void print_share(double share)
{
    if (share > 0)
        printf(" %5.0f%%", 100 * share);
    else
        printf(" %6s", "");
}

static void print_row(const struct kl_bench *b, const struct kl_bench_result *r)
{
    char range[40];
    if (b->options->json)
        return;
    if (b->n_results == 1)
        print_head(b);
    snprintf(range, sizeof range, "(%.1f..%.1f)", r->speed.p10, r->speed.p90);
    printf("%-8s %6zu %10.2f %17s %8.2f", r->test, r->n, r->speed.median, range, r->gb_per_second);
    print_share(r->read_share);
    printf(" %8.2f", r->gmac_per_second);
    print_share(r->int8_share);
    if (r->per_token.instructions > 0)
        printf(" %12.4g", r->per_token.instructions);
    if (r->per_token.instructions > 0 && r->per_token.cycles > 0)
        printf(" %10.2f", r->per_token.instructions / r->per_token.cycles);
    printf("\n");
    fflush(stdout);
}

static void print_steps(const struct kl_bench *b)
{
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        if (strcmp(r->test, "decode") == 0)
            printf("decoding from token to token: %.2f ms (%.2f..%.2f, %zu of them)\n",
                   1e3 * r->step.median, 1e3 * r->step.p10, 1e3 * r->step.p90, r->step.n);
    }
    if (b->n_results > 0 && b->machine.no_counters[0] != '\0')
        printf("instructions and cycles were not counted: %s\n", b->machine.no_counters);
}

static void print_first_token(const struct kl_bench *b)
{
    const struct kl_bench_first *f = &b->first;
    const struct kl_bench_memory *m = &b->memory;
    char size[5][32];
    printf("first    %.3f s (%.3f..%.3f): a token after %zu Chinese characters, %zu tokens\n",
           f->seconds.median, f->seconds.p10, f->seconds.p90, f->characters, f->prompt_tokens);
    printf("memory   resident %s (peak %s): files %s, anonymous %s, %s of it buffers\n",
           kl_format_bytes((double)m->resident, size[0], sizeof size[0]),
           kl_format_bytes((double)m->peak, size[1], sizeof size[1]),
           kl_format_bytes((double)m->file, size[2], sizeof size[2]),
           kl_format_bytes((double)m->anonymous, size[3], sizeof size[3]),
           kl_format_bytes((double)m->forward, size[4], sizeof size[4]));
}

static enum kl_status print_json(const struct kl_bench *b, struct kl_error *err)
{
    struct kl_buffer text;
    kl_buffer_init(&text, (size_t)16 << 20); /* a hundred runs of everything are 100 KB */
    enum kl_status status = kl_bench_json(b, &text);
    if (status == KL_OK)
        fwrite(text.data, 1, text.len, stdout); /* main checks whether it could be written */
    else
        kl_fail(err, status, "out of memory while writing the results");
    kl_buffer_release(&text);
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum kl_status bench(struct kl_bench *b, struct kl_error *err)
{
    const struct kl_bench_options *o = b->options;
    const struct kl_loaded *l = b->loaded;
    enum kl_status status = KL_OK;
    kl_bench_describe(&b->machine);
    if (!o->json)
        printf("%s, %s kernels, threads: %zu for decoding, %zu for prompts; medians of %zu\n",
               l->location.name, kl_model_kernels(l->model)->name, l->threads.decode,
               l->threads.prefill, o->repeat);
    if ((o->parts & KL_BENCH_MACHINE) != 0)
        status =
            kl_bench_measure_machine(&b->machine, kl_model_kernels(l->model), l->n_threads, err);
    if (status == KL_OK && !o->json)
        print_machine(b);
    if (status == KL_OK && (o->parts & KL_BENCH_START) != 0) {
        status = kl_bench_measure_start(b, err);
        if (status == KL_OK && !o->json)
            print_start(&b->start);
    }
    /* early, because the random tokens of later tests map most of the embedding table */
    if (status == KL_OK && (o->parts & KL_BENCH_FIRST_TOKEN) != 0) {
        status = kl_bench_measure_first_token(b, err);
        if (status == KL_OK && !o->json)
            print_first_token(b);
    }
    if (status == KL_OK)
        status = kl_bench_measure_model(b, print_row, err);
    if (status == KL_OK && !o->json)
        print_steps(b);
    if (status == KL_OK && o->report != NULL)
        status = kl_bench_write_report(b, o->report, err);
    if (status == KL_OK && o->json)
        status = print_json(b, err);
    return status;
}

static enum kl_status read_parts(const char *only, unsigned *parts, struct kl_error *err)
{
    static const struct {
        const char *name;
        unsigned part;
    } names[] = {
        {"machine", KL_BENCH_MACHINE}, {"start", KL_BENCH_START},
        {"prefill", KL_BENCH_PREFILL}, {"decode", KL_BENCH_DECODE},
        {"batches", KL_BENCH_BATCHES}, {"first-token", KL_BENCH_FIRST_TOKEN},
    };
    enum { N_NAMES = sizeof names / sizeof names[0] };
    *parts = only == NULL ? KL_BENCH_ALL : 0;
    while (only != NULL) {
        size_t len = strcspn(only, ","), i = 0;
        while (i < N_NAMES &&
               (strlen(names[i].name) != len || strncmp(names[i].name, only, len) != 0))
            i++;
        if (i == N_NAMES)
            return kl_fail(err, KL_ERR_INVALID,
                           "--only takes machine, start, prefill, decode, batches and first-token, "
                           "with commas between them, not \"%.*s\"",
                           (int)(len < 40 ? len : 40), only);
        *parts |= names[i].part;
        only = only[len] == ',' ? only + len + 1 : NULL;
    }
    return KL_OK;
}

/* Joins the words of the command line again, for the report. */
static void join(int argc, char **argv, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "kinglet");
    for (int i = 0; i < argc && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, " %s", argv[i]);
}

static int run(struct kl_bench_options *o, const char *command)
{
    static struct kl_bench b; /* 200 KB, most of it samples */
    struct kl_error err = {0};
    struct kl_loaded loaded;
    b = (struct kl_bench){.options = o, .loaded = &loaded, .command = command};
    time_t now = time(NULL);
    struct tm utc;
    strftime(b.date, sizeof b.date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
    if (read_parts(o->only, &o->parts, &err) != KL_OK)
        return kl_report("bench", &err);
    if (kl_load(&loaded, &o->load, KL_LOAD_MODEL, &err) != KL_OK)
        return kl_load_report("bench", &err);
    kl_interrupt_block();
    enum kl_status status = bench(&b, &err);
    kl_unload(&loaded);
    if (status == KL_ERR_CANCELLED) {
        fputs("kinglet bench: stopped\n", stderr);
        kl_interrupt_die();
    }
    return status == KL_OK ? KL_EXIT_OK : kl_report("bench", &err);
}

/* Whether "--name" or "--name=..." is given. Asked before the table of options is filled, because
 * it changes the defaults that --help shows. */
static bool is_given(const char *option, int argc, char **argv)
{
    size_t len = strlen(option);
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strncmp(argv[i], option, len) == 0 && (argv[i][len] == '\0' || argv[i][len] == '='))
            return true;
    return false;
}

/* Refuses options that only one of the two kinds of measuring has. */
static enum kl_status check_soak(const struct kl_soak_options *soak, size_t n_arguments,
                                 struct kl_error *err)
{
    const char *only = soak->url != NULL          ? "--url"
                       : soak->prompts != NULL    ? "--prompts"
                       : soak->key_file != NULL   ? "--api-key-file"
                       : soak->model_name != NULL ? "--model-name"
                       : soak->rounds > 0         ? "--rounds"
                       : soak->pid > 0            ? "--pid"
                       : n_arguments > 0          ? "arguments for serve (after --)"
                                                  : NULL;
    if (soak->time == NULL && only != NULL)
        return kl_fail(err, KL_ERR_INVALID, "%s: only with --soak TIME", only);
    if (soak->url != NULL && n_arguments > 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "arguments for serve (after --) cannot be combined with --url: that server "
                       "runs already");
    return KL_OK;
}

/* In the order in which --help shows them. */
static void add_options(struct kl_option_table *table, struct kl_bench_options *o,
                        struct kl_soak_options *soak)
{
    const struct kl_option measured[] = {
        {"quick", 0, KL_OPTION_FLAG, NULL, "fewer and shorter tests: about ten seconds", &o->quick,
         0, 0},
        {"only", 0, KL_OPTION_STRING, "PART,PART,...",
         "only these of machine, start, prefill, decode, batches, first-token", &o->only, 0, 0},
        {"prompt", 0, KL_OPTION_LIST, "N,N,...", "prefill this many tokens", &o->prompts, 1,
         KL_MAX_CTX_SIZE},
        {"generate", 0, KL_OPTION_SIZE, "N",
         "decode this many tokens, and a quarter of that in batches; 0: no decoding", &o->generate,
         0, KL_MAX_CTX_SIZE},
        {"depth", 0, KL_OPTION_SIZE, "N",
         "tokens in the context before decoding begins; their time does not count", &o->depth, 0,
         KL_MAX_CTX_SIZE},
        {"batches", 0, KL_OPTION_LIST, "N,N,...", "decode this many sequences together",
         &o->batches, 1, KL_BENCH_MAX_BATCH},
        {"repeat", 0, KL_OPTION_SIZE, "R",
         "runs of each test, after a first one that is not counted", &o->repeat, 1,
         KL_BENCH_MAX_REPEAT},
        {"chunk", 0, KL_OPTION_SIZE, "N",
         "prompt tokens in one batch; the default is that of serve", &o->chunk, 1, 4096},
        {"logits", 0, KL_OPTION_FLAG, NULL,
         "compute all logits instead of only those that greedy decoding needs", &o->logits, 0, 0},
    };
    const struct kl_option soaked[] = {KL_SOAK_ROWS(*soak)};
    const struct kl_option written[] = {
        {"json", 0, KL_OPTION_FLAG, NULL, "print one JSON object instead of the table", &o->json, 0,
         0},
        {"report", 0, KL_OPTION_STRING, "FILE.html",
         "also write a page with plots, as one self-contained file", &o->report, 0, 0},
    };
    kl_load_add_options(table, &o->load);
    kl_load_add_memory_option(table, &o->load);
    kl_options_add(table, measured, sizeof measured / sizeof measured[0]);
    kl_options_add(table, soaked, sizeof soaked / sizeof soaked[0]);
    kl_options_add(table, written, sizeof written / sizeof written[0]);
}

int kl_run_bench(int argc, char **argv)
{
    static const struct kl_bench_options thorough = {
        .prompts = {.values = {32, 128, 512}, .len = 3},
        .batches = {.values = {1, 2, 4, 8, 16}, .len = 5},
        .generate = 64,
        .repeat = 5,
    };
    static const struct kl_bench_options quick = {
        .prompts = {.values = {32, 128}, .len = 2},
        .batches = {.values = {1, 4, 16}, .len = 3},
        .generate = 32,
        .repeat = 3,
    };
    struct kl_bench_options o = is_given("--quick", argc, argv) ? quick : thorough;
    o.load = (struct kl_load_options){.ctx_size = 4096};
    o.chunk = KL_PREFILL_CHUNK;
    struct kl_soak_options soak = {.load = &o.load, .people = 1, .timeout = 120};
    if (is_given("--soak", argc, argv))
        o.generate = 128;
    struct kl_option_table table = {0};
    add_options(&table, &o, &soak);
    const struct kl_command_line line = {
        .command = "bench",
        .about =
            "Measures this computer (reading memory, multiplying int8) and the model on it: "
            "start, prefill, decoding, several sequences at once, the first token of an "
            "answer, memory. GB/s counts the weights that are read, once for each pass; GMAC/s "
            "counts the multiply-adds of the matrices; percentages are of the rates that this "
            "computer reached with the same number of threads in this run. Takes a minute.",
        .arguments = "[-- OPTIONS OF SERVE...]",
        .max_arguments = KL_SOAK_ARGUMENTS,
        .options = table.rows,
        .n_options = table.n,
    };
    size_t n;
    int code;
    char command[1024];
    join(argc, argv, command, sizeof command); /* before parsing, which moves the words */
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    struct kl_error err = {0};
    if (check_soak(&soak, n, &err) != KL_OK)
        return kl_report("bench", &err);
    if (soak.time == NULL)
        return run(&o, command);
    soak.arguments = argv + 1;
    soak.n_arguments = n;
    soak.generate = o.generate;
    soak.report = o.report;
    soak.json = o.json;
    return kl_bench_soak(&soak, command);
}
