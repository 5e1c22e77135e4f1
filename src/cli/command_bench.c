/* kinglet bench: measures how fast the model runs on this computer, and how fast it could. */
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>

#include "bench/bench_soak.h"
#include "cli/commands.h"
#include "console/interrupt.h"

/* Joins the words of the command line again, for the report. */
static void join(int argc, char **argv, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "kinglet");
    for (int i = 0; i < argc && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, " %s", argv[i]);
}

/* Returns the exit code. After Ctrl-C the program ends by the signal. */
static int finish(enum kl_status status, const struct kl_error *err)
{
    if (status == KL_ERR_CANCELLED) {
        fputs("kinglet bench: stopped\n", stderr);
        kl_interrupt_die();
    }
    return status == KL_OK ? KL_EXIT_OK : kl_report("bench", err);
}

static int run(struct kl_bench_options *o, const char *command)
{
    static struct kl_bench b; /* 200 KB, most of it samples */
    struct kl_error err = {0};
    struct kl_loaded loaded;
    b = (struct kl_bench){.options = o, .loaded = &loaded, .command = command};
    if (o->profile && (o->only != NULL || o->report != NULL))
        kl_fail(&err, KL_ERR_INVALID,
                "--profile measures something else than --only and --report: use it without them");
    else if (o->profile)
        o->parts = KL_BENCH_MACHINE | KL_BENCH_PROFILE;
    else
        kl_bench_read_parts(o->only, &o->parts, &err);
    if (err.status != KL_OK)
        return kl_report("bench", &err);
    if (kl_load(&loaded, &o->load, KL_LOAD_MODEL, &err) != KL_OK)
        return kl_load_report("bench", &err);
    kl_interrupt_block();
    enum kl_status status = kl_bench_run(&b, &err);
    kl_unload(&loaded);
    return finish(status, &err);
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

/* In the order in which --help shows them. */
static void add_options(struct kl_option_table *table, struct kl_bench_options *o,
                        struct kl_soak_options *soak)
{
    const struct kl_option measured[] = {
        {"quick", 0, KL_OPTION_FLAG, NULL, "fewer and shorter tests: about ten seconds", &o->quick,
         0, 0},
        {"only", 0, KL_OPTION_STRING, "PART,PART,...",
         "only these of machine, start, prefill, decode, batches, first-token, drafts", &o->only, 0,
         0},
        {"profile", 0, KL_OPTION_FLAG, NULL,
         "only where the time of a pass goes, for 1 to 512 rows and in a long context", &o->profile,
         0, 0},
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
    const struct kl_option written[] = {
        {"json", 0, KL_OPTION_FLAG, NULL, "print one JSON object instead of the table", &o->json, 0,
         0},
        {"report", 0, KL_OPTION_STRING, "FILE.html",
         "also write a page with plots, as one self-contained file", &o->report, 0, 0},
    };
    kl_load_add_options(table, &o->load);
    kl_load_add_memory_option(table, &o->load);
    kl_load_add_draft_option(table, &o->load);
    kl_options_add(table, measured, sizeof measured / sizeof measured[0]);
    kl_soak_add_options(table, soak);
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
    o.load = (struct kl_load_options){.ctx_size = 4096, .draft_max = KL_DEFAULT_DRAFT_MAX};
    o.chunk = KL_PREFILL_CHUNK;
    struct kl_soak_options soak = {.load = &o.load, .users = 1, .timeout = 120};
    if (is_given("--soak", argc, argv))
        o.generate = 128;
    struct kl_option_table table = {0};
    add_options(&table, &o, &soak);
    const struct kl_command_line line = {
        .command = "bench",
        .about = "Measures this computer (reading memory, multiplying int8) and the model on it: "
                 "start, prefill, decoding, several sequences at once, the first token of an "
                 "answer, memory, an answer with drafts. GB/s counts the weights that are read, "
                 "once for each pass; GMAC/s "
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
    if (kl_soak_check_options(&soak, n, &err) != KL_OK)
        return kl_report("bench", &err);
    if (soak.time == NULL)
        return run(&o, command);
    soak.arguments = argv + 1;
    soak.n_arguments = n;
    soak.generate = o.generate;
    soak.report = o.report;
    soak.json = o.json;
    bool all_answered;
    enum kl_status status = kl_bench_soak(&soak, command, &all_answered, &err);
    return status == KL_OK && !all_answered ? KL_EXIT_FAILURE : finish(status, &err);
}
