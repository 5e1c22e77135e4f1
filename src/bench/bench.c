/* The parts of the measurement in their order, and the parts that --only names. */
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "model/model.h"

void kl_bench_date(char out[32])
{
    time_t now = time(NULL);
    struct tm utc;
    strftime(out, 32, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
}

enum kl_status kl_bench_read_parts(const char *only, unsigned *parts, struct kl_error *err)
{
    static const struct {
        const char *name;
        unsigned part;
    } names[] = {
        {"machine", KL_BENCH_MACHINE}, {"start", KL_BENCH_START},
        {"prefill", KL_BENCH_PREFILL}, {"decode", KL_BENCH_DECODE},
        {"batches", KL_BENCH_BATCHES}, {"first-token", KL_BENCH_FIRST_TOKEN},
        {"drafts", KL_BENCH_DRAFTS},
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
                           "--only takes machine, start, prefill, decode, batches, first-token and "
                           "drafts, with commas between them, not \"%.*s\"",
                           (int)(len < 40 ? len : 40), only);
        *parts |= names[i].part;
        only = only[len] == ',' ? only + len + 1 : NULL;
    }
    return KL_OK;
}

static enum kl_status print_json(const struct kl_bench *b, struct kl_error *err)
{
    struct kl_printer out;
    kl_printer_init(&out, (size_t)16 << 20); /* 100 runs of everything are 100 KB */
    kl_bench_json(b, &out);
    enum kl_status status = kl_printer_write(&out, stdout, "the table of results", err);
    kl_printer_release(&out);
    return status;
}

/* Prints a result, unless JSON is printed at the end. */
static void print_row(const struct kl_bench *b, const struct kl_bench_result *r)
{
    if (!b->options->json)
        kl_bench_print_row(b, r);
}

static void print_profile(const struct kl_bench *b, const struct kl_bench_shape *s)
{
    if (!b->options->json)
        kl_bench_print_profile(b, s);
}

enum kl_status kl_bench_run(struct kl_bench *b, struct kl_error *err)
{
    const struct kl_bench_options *o = b->options;
    const struct kl_loaded *l = b->loaded;
    enum kl_status status = KL_OK;
    kl_bench_date(b->date);
    kl_bench_describe(&b->machine);
    if (!o->json)
        printf("%s, %s kernels, threads: %zu for decoding, %zu for prompts; medians of %zu\n",
               l->location.name, kl_model_kernels(l->model)->name, l->threads.decode,
               l->threads.prefill, o->repeat);
    if ((o->parts & KL_BENCH_MACHINE) != 0)
        status =
            kl_bench_measure_machine(&b->machine, kl_model_kernels(l->model), l->n_threads, err);
    if (status == KL_OK && !o->json)
        kl_bench_print_machine(b);
    if (status == KL_OK && (o->parts & KL_BENCH_START) != 0) {
        status = kl_bench_measure_start(b, err);
        if (status == KL_OK && !o->json)
            kl_bench_print_start(&b->start);
    }
    /* early: the random tokens of what follows map most of the embedding table */
    if (status == KL_OK && (o->parts & KL_BENCH_FIRST_TOKEN) != 0) {
        status = kl_bench_measure_first_token(b, err);
        if (status == KL_OK && !o->json)
            kl_bench_print_first_token(b);
    }
    if (status == KL_OK)
        status = kl_bench_measure_model(b, print_row, err);
    if (status == KL_OK && !o->json)
        kl_bench_print_steps(b);
    if (status == KL_OK && (o->parts & KL_BENCH_PROFILE) != 0)
        status = kl_bench_measure_profile(b, print_profile, err);
    if (status == KL_OK && (o->parts & KL_BENCH_DRAFTS) != 0 && o->load.draft_max > 0) {
        status = kl_bench_measure_drafts(b, err);
        if (status == KL_OK && !o->json)
            kl_bench_print_drafts(&b->drafts);
    }
    if (status == KL_OK && o->report != NULL)
        status = kl_bench_write_report(b, o->report, err);
    if (status == KL_OK && o->json)
        status = print_json(b, err);
    return status;
}
