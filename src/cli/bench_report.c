#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/terminal.h"
#include "model/model.h"

extern const char kl_bench_page[]; /* bench_report.html */

/* The page as it grows; the first failure is kept, and what follows it does nothing. */
struct page {
    const struct kl_bench *b;
    struct kl_buffer *out;
    enum kl_status status;
};

#define WRITE(p, ...)                                                                              \
    do {                                                                                           \
        if ((p)->status == KL_OK)                                                                  \
            (p)->status = kl_buffer_append_format((p)->out, __VA_ARGS__);                          \
    } while (0)

/* Names of files and machines are not markup. */
static void write_text(struct page *p, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            WRITE(p, "&lt;");
        else if (*text == '&')
            WRITE(p, "&amp;");
        else if (*text == '"')
            WRITE(p, "&quot;");
        else
            WRITE(p, "%c", *text);
    }
}

/* Three digits: "4.18", "58.2", "441". */
static const char *three_digits(double value, char out[32])
{
    snprintf(out, 32, "%.*f", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value);
    return out;
}

/* ---- plots ----------------------------------------------------------------------------------- */

#define PLOT_WIDTH  400
#define PLOT_HEIGHT 240
#define MAX_BARS    KL_BENCH_MAX_RESULTS

struct bar {
    char label[48];
    double value, low, high; /* low == high: no range is drawn */
};

/* A round number (1, 2 or 5 times a power of ten) of which at most five reach the largest value. */
static double grid_step(double largest)
{
    double power = pow(10, floor(log10(largest / 5)));
    double digits = largest / 5 / power;
    return power * (digits <= 1 ? 1 : digits <= 2 ? 2 : digits <= 5 ? 5 : 10);
}

static void open_figure(struct page *p, const char *caption, int height)
{
    WRITE(p, "<figure class=\"card\"><figcaption>%s</figcaption>\n", caption);
    WRITE(p, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", PLOT_WIDTH, height,
          caption);
}

static void close_figure(struct page *p)
{
    WRITE(p, "</svg></figure>\n");
}

/* Upright bars with a line from p10 to p90. */
static void plot_bars(struct page *p, const char *caption, const char *below,
                      const struct bar *bars, size_t n, char color)
{
    const double left = 44, top = 18, bottom = PLOT_HEIGHT - 40, right = PLOT_WIDTH - 4;
    double largest = 0;
    char text[32];
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fmax(bars[i].value, bars[i].high));
    if (n == 0 || !(largest > 0))
        return;
    double scale = (bottom - top) / largest, step = grid_step(largest);
    open_figure(p, caption, PLOT_HEIGHT);
    for (double at = 0; at <= largest * 1.001; at += step) {
        double y = bottom - at * scale;
        WRITE(p, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", left, y, right);
        WRITE(p, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", left - 6, y + 4,
              at);
    }
    double slot = (right - left) / (double)n;
    double width = fmin(slot * 0.7, 64);
    for (size_t i = 0; i < n; i++) {
        double middle = left + slot * ((double)i + 0.5), y = bottom - bars[i].value * scale;
        double above = fmin(y, bottom - bars[i].high * scale);
        WRITE(p, "<rect class=\"%c\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", color,
              middle - width / 2, y, width, bottom - y);
        if (bars[i].high > bars[i].low)
            WRITE(p, "<path class=\"range\" d=\"M%.1f %.1fV%.1f\"/>", middle,
                  bottom - bars[i].low * scale, bottom - bars[i].high * scale);
        WRITE(p, "<text class=\"value\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
              middle, above - 5, three_digits(bars[i].value, text));
        WRITE(p, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", middle,
              bottom + 16, bars[i].label);
    }
    WRITE(p, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (left + right) / 2,
          PLOT_HEIGHT - 6, below);
    close_figure(p);
}

/* One bar of several parts, and under it what they are. */
static void plot_parts(struct page *p, const char *caption, const char *unit,
                       const struct bar *parts, size_t n)
{
    double all = 0, at = 0;
    char text[32];
    for (size_t i = 0; i < n; i++)
        all += parts[i].value;
    if (!(all > 0))
        return;
    open_figure(p, caption, 56 + 22 * (int)n);
    for (size_t i = 0; i < n; i++) {
        double width = parts[i].value / all * PLOT_WIDTH;
        int y = 66 + 22 * (int)i;
        WRITE(p, "<rect class=\"%c\" x=\"%.1f\" y=\"4\" width=\"%.1f\" height=\"36\"/>",
              "abcd"[i % 4], at, width);
        WRITE(p, "<rect class=\"%c\" x=\"0\" y=\"%d\" width=\"12\" height=\"12\"/>", "abcd"[i % 4],
              y - 11);
        WRITE(p, "<text x=\"20\" y=\"%d\">%s</text>", y, parts[i].label);
        WRITE(p, "<text class=\"value\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s %s</text>\n",
              PLOT_WIDTH, y, three_digits(parts[i].value, text), unit);
        at += width;
    }
    close_figure(p);
}

/* For each test how much of the memory's and of the multipliers' speed it uses. */
static void plot_shares(struct page *p)
{
    const struct kl_bench *b = p->b;
    const double left = 90, width = PLOT_WIDTH - 90 - 50;
    if (b->machine.n_points == 0 || b->n_results == 0)
        return;
    open_figure(p, "Share of what this computer can do", 38 + 40 * (int)b->n_results);
    WRITE(p, "<rect class=\"a\" x=\"%.0f\" y=\"4\" width=\"12\" height=\"12\"/>", left);
    WRITE(p, "<text x=\"%.0f\" y=\"15\">reading memory</text>", left + 18);
    WRITE(p, "<rect class=\"b\" x=\"%.0f\" y=\"4\" width=\"12\" height=\"12\"/>", left + 140);
    WRITE(p, "<text x=\"%.0f\" y=\"15\">int8 multiply-adds</text>\n", left + 158);
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        const double shares[2] = {r->read_share, r->int8_share};
        double y = 32 + 40 * (double)i;
        WRITE(p, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%s %zu</text>", left - 8, y + 18,
              r->test, r->n);
        for (int k = 0; k < 2; k++) {
            double row = y + 16 * k;
            WRITE(p, "<rect class=\"track\" x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"12\"/>",
                  left, row, width);
            WRITE(p, "<rect class=\"%c\" x=\"%.0f\" y=\"%.0f\" width=\"%.1f\" height=\"12\"/>",
                  "ab"[k], left, row, width * fmin(shares[k], 1));
            WRITE(p, "<text class=\"value\" x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.0f %%</text>",
                  PLOT_WIDTH, row + 11, 100 * shares[k]);
        }
        WRITE(p, "\n");
    }
    close_figure(p);
}

static void plot_results(struct page *p, const char *test, const char *caption, const char *below,
                         char color)
{
    struct bar bars[MAX_BARS];
    size_t n = 0;
    for (size_t i = 0; i < p->b->n_results; i++) {
        const struct kl_bench_result *r = &p->b->results[i];
        if (strcmp(r->test, test) != 0)
            continue;
        struct bar *bar = &bars[n++];
        *bar = (struct bar){.value = r->speed.median, .low = r->speed.p10, .high = r->speed.p90};
        snprintf(bar->label, sizeof bar->label, "%zu", r->n);
    }
    plot_bars(p, caption, below, bars, n, color);
}

static void plot_machine(struct page *p)
{
    const struct kl_bench_machine *m = &p->b->machine;
    struct bar bars[KL_BENCH_MAX_POINTS];
    for (size_t i = 0; i < m->n_points; i++) {
        bars[i] = (struct bar){.value = m->points[i].read_gb};
        snprintf(bars[i].label, sizeof bars[i].label, "%zu", m->points[i].threads);
    }
    plot_bars(p, "Reading memory, GB/s", "threads", bars, m->n_points, 'a');
    for (size_t i = 0; i < m->n_points; i++)
        bars[i].value = m->points[i].int8_gmac;
    plot_bars(p, "Multiplying int8, GMAC/s", "threads", bars, m->n_points, 'b');
}

static void write_plots(struct page *p)
{
    const struct kl_bench_start *s = &p->b->start;
    const struct kl_bench_memory *m = &p->b->memory;
    plot_results(p, "prefill", "Reading a prompt, tokens/s", "tokens of the prompt", 'a');
    plot_results(p, "batch", "Answering together, tokens/s of all", "answers at the same time",
                 'c');
    plot_shares(p);
    plot_machine(p);
    const struct bar stages[] = {
        {.label = "model file", .value = 1e3 * s->file.median},
        {.label = "tokenizer", .value = 1e3 * s->tokenizer.median},
        {.label = "weights", .value = 1e3 * s->weights.median},
        {.label = "engine", .value = 1e3 * s->engine.median},
    };
    plot_parts(p, "Start, all files in the page cache", "ms", stages, 4);
    double buffers = fmin((double)m->forward, (double)m->anonymous);
    const struct bar parts[] = {
        {.label = "mapped files (shared, evictable)", .value = 1e-6 * (double)m->file},
        {.label = "buffers of the engine", .value = 1e-6 * buffers},
        {.label = "tokenizer, KV cache and all else",
         .value = 1e-6 * ((double)m->anonymous - buffers)},
    };
    plot_parts(p, "Resident memory after the first tokens", "MB", parts, 3);
}

/* ---- the rest of the page -------------------------------------------------------------------- */

static void write_figure(struct page *p, double value, const char *unit, const char *what)
{
    char text[32];
    WRITE(p, "<div class=\"card\"><b>%s <small>%s</small></b><span>%s</span></div>\n",
          three_digits(value, text), unit, what);
}

static void write_figures(struct page *p)
{
    const struct kl_bench *b = p->b;
    const struct kl_bench_result *longest = NULL;
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        if (strcmp(r->test, "decode") == 0)
            write_figure(p, r->speed.median, "tokens/s", "answering");
        if (strcmp(r->test, "prefill") == 0 && (longest == NULL || r->n > longest->n))
            longest = r;
    }
    if (longest != NULL)
        write_figure(p, longest->speed.median, "tokens/s", "reading a long prompt");
    if (b->first.seconds.n > 0)
        write_figure(p, 1e3 * b->first.seconds.median, "ms",
                     "to the first token, 200 Chinese characters");
    if (b->start.all.n > 0)
        write_figure(p, 1e3 * b->start.all.median, "ms", "to start");
    if (b->memory.peak > 0)
        write_figure(p, 1e-6 * (double)b->memory.peak, "MB", "resident at most");
}

static void write_results(struct page *p)
{
    const struct kl_bench *b = p->b;
    bool shares = b->machine.n_points > 0, counted = b->machine.no_counters[0] == '\0';
    WRITE(p,
          "<table><tr><th>test</th><th>n</th><th>tokens/s</th><th>p10 to p90</th><th>runs</th>"
          "<th>ms a step</th><th>GB/s</th>%s<th>GMAC/s</th>%s%s</tr>\n",
          shares ? "<th>of reading</th>" : "", shares ? "<th>of int8</th>" : "",
          counted ? "<th>instructions a token</th>" : "");
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        WRITE(p, "<tr><td>%s</td><td>%zu</td><td>%.1f</td><td>%.1f to %.1f</td><td>%zu</td>",
              r->test, r->n, r->speed.median, r->speed.p10, r->speed.p90, r->speed.n);
        if (r->step.n > 0)
            WRITE(p, "<td>%.2f</td>", 1e3 * r->step.median);
        else
            WRITE(p, "<td></td>");
        WRITE(p, "<td>%.1f</td>", r->gb_per_second);
        if (shares)
            WRITE(p, "<td>%.0f %%</td>", 100 * r->read_share);
        WRITE(p, "<td>%.1f</td>", r->gmac_per_second);
        if (shares)
            WRITE(p, "<td>%.0f %%</td>", 100 * r->int8_share);
        if (counted)
            WRITE(p, "<td>%.4g</td>", r->per_token.instructions);
        WRITE(p, "</tr>\n");
    }
    WRITE(p, "</table>\n");
}

static void write_fact(struct page *p, const char *name, const char *value)
{
    if (value[0] == '\0')
        value = "not known";
    WRITE(p, "<tr><td>%s</td><td>", name);
    write_text(p, value);
    WRITE(p, "</td></tr>\n");
}

static void write_facts(struct page *p)
{
    const struct kl_bench *b = p->b;
    char text[64];
    WRITE(p, "<table class=\"facts\">\n");
    write_fact(p, "Processor", b->machine.cpu);
    write_fact(p, "Features", b->machine.features);
    snprintf(text, sizeof text, "%zu", b->machine.cpus);
    write_fact(p, "CPUs for this process", text);
    write_fact(p, "Frequency governor", b->machine.governor);
    kl_format_bytes((double)b->machine.memory_bytes, text, sizeof text);
    write_fact(p, "Memory", text);
    write_fact(p, "Instructions and cycles",
               b->machine.no_counters[0] != '\0' ? b->machine.no_counters : "counted");
    write_fact(p, "Model file", b->loaded->location.path);
    kl_format_bytes((double)kl_bench_bytes_per_token(b), text, sizeof text);
    write_fact(p, "Read for each token", text);
    write_fact(p, "Command", b->command);
    WRITE(p, "</table>\n");
}

static void write_model(struct page *p)
{
    write_text(p, p->b->loaded->location.name);
}

static void write_version(struct page *p)
{
    WRITE(p, "%s", KL_VERSION);
}

static void write_cpu(struct page *p)
{
    write_text(p, p->b->machine.cpu[0] != '\0' ? p->b->machine.cpu : "an unknown processor");
}

static void write_threads(struct page *p)
{
    const struct kl_threads *t = &p->b->loaded->threads;
    WRITE(p, "%zu thread%s", t->decode, t->decode == 1 ? "" : "s");
    if (t->prefill != t->decode)
        WRITE(p, " (%zu for prompts)", t->prefill);
}

static void write_kernels(struct page *p)
{
    write_text(p, kl_model_kernels(p->b->loaded->model)->name);
}

static void write_date(struct page *p)
{
    write_text(p, p->b->date);
}

static const struct marker {
    const char *name; /* as it stands in bench_report.html between double braces */
    void (*write)(struct page *p);
} markers[] = {
    {"model", write_model},     {"version", write_version}, {"cpu", write_cpu},
    {"threads", write_threads}, {"kernels", write_kernels}, {"date", write_date},
    {"figures", write_figures}, {"plots", write_plots},     {"results", write_results},
    {"facts", write_facts},
};

enum kl_status kl_bench_html(const struct kl_bench *b, struct kl_buffer *out)
{
    struct page p = {.b = b, .out = out};
    const char *at = kl_bench_page;
    for (const char *open; (open = strstr(at, "{{")) != NULL;) {
        WRITE(&p, "%.*s", (int)(open - at), at);
        const char *name = open + 2;
        size_t len = strcspn(name, "}");
        for (size_t i = 0; i < sizeof markers / sizeof markers[0]; i++)
            if (strlen(markers[i].name) == len && strncmp(markers[i].name, name, len) == 0)
                markers[i].write(&p);
        at = name + len + 2;
    }
    WRITE(&p, "%s", at);
    return p.status;
}

/* ---- the file -------------------------------------------------------------------------------- */

static enum kl_status write_all(int fd, const char *data, size_t len, const char *path,
                                struct kl_error *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kl_fail_errno(err, "cannot write the report %s", path);
        data += n;
        len -= (size_t)n;
    }
    return KL_OK;
}

enum kl_status kl_bench_write_report(const struct kl_bench *b, const char *path,
                                     struct kl_error *err)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.part", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return kl_fail(err, KL_ERR_INVALID, "the path of the report is too long: %.100s...", path);
    struct kl_buffer html;
    kl_buffer_init(&html, (size_t)4 << 20); /* some 30 KB */
    int fd = -1;
    enum kl_status status = kl_bench_html(b, &html);
    if (status != KL_OK)
        kl_fail(err, status, "the report does not fit into memory");
    if (status == KL_OK) {
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
            status = kl_fail_errno(err, "cannot write the report %s", path);
    }
    if (status == KL_OK)
        status = write_all(fd, html.data, html.len, path, err);
    if (status == KL_OK && fsync(fd) != 0)
        status = kl_fail_errno(err, "cannot write the report %s to the disk", path);
    if (status == KL_OK && rename(temporary, path) != 0)
        status = kl_fail_errno(err, "cannot rename %s to %s", temporary, path);
    if (fd >= 0) {
        close(fd);
        if (status != KL_OK)
            unlink(temporary);
    }
    kl_buffer_release(&html);
    return status;
}
