#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/html_report.h"
#include "console/terminal.h"
#include "model/model.h"

static const struct kl_bench *bench_of(const struct kl_html *h)
{
    return h->subject;
}

/* ---- plots ----------------------------------------------------------------------------------- */

/* The shares of reading and multiplying speed that each test uses. */
static void plot_shares(struct kl_html *h)
{
    const struct kl_bench *b = bench_of(h);
    const double left = 90, width = KL_PLOT_WIDTH - 90 - 50;
    if (b->machine.n_points == 0 || b->n_results == 0)
        return;
    kl_html_open_plot(h, "Share of the speed of this computer", 38 + 40 * (int)b->n_results);
    KL_HTML(h, "<rect class=\"a\" x=\"%.0f\" y=\"4\" width=\"12\" height=\"12\"/>", left);
    KL_HTML(h, "<text x=\"%.0f\" y=\"15\">reading memory</text>", left + 18);
    KL_HTML(h, "<rect class=\"b\" x=\"%.0f\" y=\"4\" width=\"12\" height=\"12\"/>", left + 140);
    KL_HTML(h, "<text x=\"%.0f\" y=\"15\">int8 multiply-adds</text>\n", left + 158);
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        const double shares[2] = {r->read_share, r->int8_share};
        double y = 32 + 40 * (double)i;
        KL_HTML(h, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%s %zu</text>", left - 8,
                y + 18, r->test, r->n);
        for (int k = 0; k < 2; k++) {
            double row = y + 16 * k;
            KL_HTML(h, "<rect class=\"track\" x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"12\"/>",
                    left, row, width);
            KL_HTML(h, "<rect class=\"%c\" x=\"%.0f\" y=\"%.0f\" width=\"%.1f\" height=\"12\"/>",
                    "ab"[k], left, row, width * fmin(shares[k], 1));
            KL_HTML(h,
                    "<text class=\"value\" x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.0f %%</text>",
                    KL_PLOT_WIDTH, row + 11, 100 * shares[k]);
        }
        KL_HTML(h, "\n");
    }
    kl_html_close_plot(h);
}

static void plot_results(struct kl_html *h, const char *test, const char *caption,
                         const char *below, char color)
{
    struct kl_bar bars[KL_BENCH_MAX_RESULTS];
    size_t n = 0;
    for (size_t i = 0; i < bench_of(h)->n_results; i++) {
        const struct kl_bench_result *r = &bench_of(h)->results[i];
        if (strcmp(r->test, test) != 0)
            continue;
        struct kl_bar *bar = &bars[n++];
        *bar = (struct kl_bar){.value = r->speed.median, .low = r->speed.p10, .high = r->speed.p90};
        snprintf(bar->label, sizeof bar->label, "%zu", r->n);
    }
    kl_html_bars(h, caption, below, bars, n, color);
}

static void plot_machine(struct kl_html *h)
{
    const struct kl_bench_machine *m = &bench_of(h)->machine;
    struct kl_bar bars[KL_BENCH_MAX_POINTS];
    for (size_t i = 0; i < m->n_points; i++) {
        bars[i] = (struct kl_bar){.value = m->points[i].read_gb};
        snprintf(bars[i].label, sizeof bars[i].label, "%zu", m->points[i].threads);
    }
    kl_html_bars(h, "Reading memory, GB/s", "threads", bars, m->n_points, 'a');
    for (size_t i = 0; i < m->n_points; i++)
        bars[i].value = m->points[i].int8_gmac;
    kl_html_bars(h, "Multiplying int8, GMAC/s", "threads", bars, m->n_points, 'b');
}

static void write_plots(struct kl_html *h)
{
    const struct kl_bench_start *s = &bench_of(h)->start;
    const struct kl_bench_memory *m = &bench_of(h)->memory;
    plot_results(h, "prefill", "Reading a prompt, tokens/s", "tokens of the prompt", 'a');
    plot_results(h, "batch", "Concurrent answers, tokens/s of all", "answers at the same time",
                 'c');
    plot_shares(h);
    plot_machine(h);
    const struct kl_bar stages[] = {
        {.label = "model file", .value = 1e3 * s->file.median},
        {.label = "tokenizer", .value = 1e3 * s->tokenizer.median},
        {.label = "weights", .value = 1e3 * s->weights.median},
        {.label = "engine", .value = 1e3 * s->engine.median},
    };
    kl_html_parts(h, "Start, all files in the page cache", "ms", stages, 4);
    double buffers = fmin((double)m->forward, (double)m->anonymous);
    const struct kl_bar parts[] = {
        {.label = "mapped files (shared, evictable)", .value = 1e-6 * (double)m->file},
        {.label = "buffers of the engine", .value = 1e-6 * buffers},
        {.label = "tokenizer, KV cache and all else",
         .value = 1e-6 * ((double)m->anonymous - buffers)},
    };
    kl_html_parts(h, "Resident memory after the first tokens", "MB", parts, 3);
}

/* ---- the rest of the page -------------------------------------------------------------------- */

static void write_figures(struct kl_html *h)
{
    const struct kl_bench *b = bench_of(h);
    const struct kl_bench_result *longest = NULL;
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        if (strcmp(r->test, "decode") == 0)
            kl_html_figure(h, r->speed.median, "tokens/s", "answering");
        if (strcmp(r->test, "prefill") == 0 && (longest == NULL || r->n > longest->n))
            longest = r;
    }
    if (longest != NULL)
        kl_html_figure(h, longest->speed.median, "tokens/s", "reading a long prompt");
    if (b->first.seconds.n > 0)
        kl_html_figure(h, 1e3 * b->first.seconds.median, "ms",
                       "to the first token, 200 Chinese characters");
    if (b->start.all.n > 0)
        kl_html_figure(h, 1e3 * b->start.all.median, "ms", "to start");
    if (b->memory.peak > 0)
        kl_html_figure(h, 1e-6 * (double)b->memory.peak, "MB", "peak resident memory");
}

static void write_results(struct kl_html *h)
{
    const struct kl_bench *b = bench_of(h);
    bool shares = b->machine.n_points > 0, counted = b->machine.no_counters[0] == '\0';
    KL_HTML(h,
            "<table><tr><th>test</th><th>n</th><th>tokens/s</th><th>p10 to p90</th><th>runs</th>"
            "<th>ms a step</th><th>GB/s</th>%s<th>GMAC/s</th>%s%s</tr>\n",
            shares ? "<th>of reading</th>" : "", shares ? "<th>of int8</th>" : "",
            counted ? "<th>instructions a token</th>" : "");
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        KL_HTML(h, "<tr><td>%s</td><td>%zu</td><td>%.1f</td><td>%.1f to %.1f</td><td>%zu</td>",
                r->test, r->n, r->speed.median, r->speed.p10, r->speed.p90, r->speed.n);
        if (r->step.n > 0)
            KL_HTML(h, "<td>%.2f</td>", 1e3 * r->step.median);
        else
            KL_HTML(h, "<td></td>");
        KL_HTML(h, "<td>%.1f</td>", r->gb_per_second);
        if (shares)
            KL_HTML(h, "<td>%.0f %%</td>", 100 * r->read_share);
        KL_HTML(h, "<td>%.1f</td>", r->gmac_per_second);
        if (shares)
            KL_HTML(h, "<td>%.0f %%</td>", 100 * r->int8_share);
        if (counted)
            KL_HTML(h, "<td>%.4g</td>", r->per_token.instructions);
        KL_HTML(h, "</tr>\n");
    }
    KL_HTML(h, "</table>\n");
}

static void write_facts(struct kl_html *h)
{
    const struct kl_bench *b = bench_of(h);
    char text[64];
    KL_HTML(h, "<table class=\"facts\">\n");
    kl_html_fact(h, "Processor", b->machine.cpu);
    kl_html_fact(h, "Features", b->machine.features);
    snprintf(text, sizeof text, "%zu", b->machine.cpus);
    kl_html_fact(h, "CPUs for this process", text);
    kl_html_fact(h, "Frequency governor", b->machine.governor);
    kl_format_bytes((double)b->machine.memory_bytes, text, sizeof text);
    kl_html_fact(h, "Memory", text);
    kl_html_fact(h, "Instructions and cycles",
                 b->machine.no_counters[0] != '\0' ? b->machine.no_counters : "counted");
    kl_html_fact(h, "Model file", b->loaded->location.path);
    kl_format_bytes((double)kl_bench_bytes_per_token(b), text, sizeof text);
    kl_html_fact(h, "Read for each token", text);
    kl_html_fact(h, "Command", b->command);
    KL_HTML(h, "</table>\n");
}

static void write_model(struct kl_html *h)
{
    kl_html_text(h, bench_of(h)->loaded->location.name);
}

static void write_about(struct kl_html *h)
{
    const struct kl_bench *b = bench_of(h);
    const struct kl_threads *t = &b->loaded->threads;
    KL_HTML(h, "kinglet %s on ", KL_VERSION);
    kl_html_text(h, b->machine.cpu[0] != '\0' ? b->machine.cpu : "an unknown processor");
    KL_HTML(h, ", %zu thread%s", t->decode, t->decode == 1 ? "" : "s");
    if (t->prefill != t->decode)
        KL_HTML(h, " (%zu for prompts)", t->prefill);
    KL_HTML(h, ", %s kernels; %s", kl_model_kernels(b->loaded->model)->name, b->date);
}

static const struct kl_html_marker markers[] = {
    {"title", write_model}, {"about", write_about},     {"figures", write_figures},
    {"plots", write_plots}, {"results", write_results}, {"facts", write_facts},
};
enum { N_MARKERS = sizeof markers / sizeof markers[0] };

enum kl_status kl_bench_write_report(const struct kl_bench *b, const char *path,
                                     struct kl_error *err)
{
    return kl_html_write(path, b, markers, N_MARKERS, err);
}
