#include <math.h>
#include <stdio.h>

#include "bench/bench_soak.h"
#include "bench/html_report.h"
#include "console/terminal.h"

#define N_BARS 10

static const struct kl_soak *soak_of(const struct kl_html *h)
{
    return h->subject;
}

/* ---- plots ----------------------------------------------------------------------------------- */

/* Converts a value that is 0 when not known. */
static double known(double value)
{
    return value > 0 ? value : NAN;
}

static double per(double sum, double n)
{
    return n > 0 ? sum / n : NAN;
}

/* Writes the middle of each interval, in a unit that suits the run. Returns the unit. */
static const char *make_times(const struct kl_soak *s, double *x)
{
    double unit = s->lasted < 300 ? 1 : s->lasted < 3 * 3600 ? 60 : 3600;
    for (size_t i = 0; i < s->series.n; i++)
        x[i] = ((double)i + 0.5) * s->series.interval / unit;
    return unit < 60 ? "seconds" : unit < 3600 ? "minutes" : "hours";
}

static void plot_series(struct kl_html *h)
{
    const struct kl_soak *s = soak_of(h);
    static double x[KL_SOAK_POINTS], a[KL_SOAK_POINTS], b[KL_SOAK_POINTS];
    size_t n = s->series.n;
    const char *below = make_times(s, x);
#define CURVES(caption, label_a, value_a, label_b, value_b, n_curves)                              \
    do {                                                                                           \
        for (size_t i = 0; i < n; i++) {                                                           \
            const struct kl_soak_point *p = &s->series.points[i];                                  \
            a[i] = (value_a);                                                                      \
            b[i] = (value_b);                                                                      \
        }                                                                                          \
        kl_html_curves(h, caption, below, x, n,                                                    \
                       (const struct kl_curve[]){{label_a, a}, {label_b, b}}, n_curves);           \
    } while (0)
    CURVES("Latency of answers, s", "mean", per(p->latency, (double)p->answered), "longest",
           known(p->latency_max), 2);
    CURVES("Time to the first text, ms", "mean", 1e3 * per(p->first, (double)p->answered),
           "longest", known(1e3 * p->first_max), 2);
    CURVES("Memory of the server, MB", "resident", known(1e-6 * p->resident), "anonymous",
           known(1e-6 * p->anonymous), 2);
    CURVES("Writing, tokens/s", "of one answer", per(p->writing_tokens, p->writing_seconds), "",
           NAN, 1);
    CURVES("Temperature, degrees Celsius", "hottest zone", known(p->celsius), "", NAN, 1);
    CURVES("Frequency, MHz", "mean of all CPUs, lowest", known(p->mhz), "", NAN, 1);
#undef CURVES
}

/* Each bar is several buckets of the histogram, from the first that is not empty to the last. */
static void plot_histogram(struct kl_html *h, const char *caption, const char *below,
                           const struct kl_soak_spread *spread, double scale, char color)
{
    const struct kl_histogram *g = &spread->histogram;
    struct kl_bar bars[N_BARS] = {0};
    size_t low = 0, high = g->n_bounds;
    char text[32];
    if (g->count == 0)
        return;
    while (g->counts[low] == 0)
        low++;
    while (g->counts[high] == 0)
        high--;
    size_t each = (high - low) / N_BARS + 1, n = (high - low) / each + 1;
    for (size_t i = low; i <= high; i++)
        bars[(i - low) / each].value += 100 * (double)g->counts[i] / (double)g->count;
    for (size_t i = 0; i < n; i++) {
        size_t last = low + (i + 1) * each - 1;
        double bound = g->bounds[last < g->n_bounds ? last : g->n_bounds - 1] * scale;
        snprintf(bars[i].label, sizeof bars[i].label, "%s", kl_three_digits(bound, text));
    }
    kl_html_bars(h, caption, below, bars, n, color);
}

static void write_plots(struct kl_html *h)
{
    const struct kl_soak_sums *all = &soak_of(h)->all;
    plot_series(h);
    plot_histogram(h, "Latency: % of the answers", "up to this number of seconds", &all->latency, 1,
                   'a');
    plot_histogram(h, "First text: % of the answers", "up to this number of ms", &all->first, 1e3,
                   'b');
    plot_histogram(h, "From text to text: % of the gaps", "up to this number of ms", &all->gap, 1e3,
                   'c');
}

/* ---- figures and tables ---------------------------------------------------------------------- */

static void write_title(struct kl_html *h)
{
    kl_html_text(h, soak_of(h)->model);
}

static void write_about(struct kl_html *h)
{
    const struct kl_soak *s = soak_of(h);
    char lasted[32];
    KL_HTML(h, "endurance: %s, %zu %s; ", kl_format_duration(s->lasted, lasted, sizeof lasted),
            s->options->users, s->options->users == 1 ? "user" : "users");
    kl_html_text(h, s->base);
    KL_HTML(h, "; kinglet %s; %s", KL_VERSION, s->date);
}

static void write_figures(struct kl_html *h)
{
    const struct kl_soak *s = soak_of(h);
    const struct kl_soak_sums *all = &s->all;
    uint64_t answered = all->outcomes[KL_SOAK_ANSWERED];
    if (all->requests > 0)
        KL_HTML(h,
                "<div class=\"card\"><b>%.4g <small>%%</small></b><span>of %llu requests "
                "answered</span></div>\n",
                100 * (double)answered / (double)all->requests, (unsigned long long)all->requests);
    if (answered > 0) {
        kl_html_figure(h, all->latency.mean, "s", "latency of an answer, mean");
        kl_html_figure(h, 1e3 * all->first.mean, "ms", "to the first text, mean");
        kl_html_figure(h, kl_soak_writing_speed(all), "tokens/s", "while an answer is written");
    }
    if (s->peak > 0)
        kl_html_figure(h, 1e-6 * s->peak, "MB", "peak memory of the server");
}

static void write_spread(struct kl_html *h, const struct kl_soak_spread *s, double scale)
{
    static const double shares[] = {0.5, 0.95, 0.99};
    char text[32];
    KL_HTML(h, "<td>%s</td>", kl_three_digits(s->mean * scale, text));
    for (size_t i = 0; i < 3; i++)
        KL_HTML(h, "<td>%s</td>", kl_three_digits(kl_soak_quantile(s, shares[i]) * scale, text));
    KL_HTML(h, "<td>%s</td>", kl_three_digits(s->largest * scale, text));
    KL_HTML(h, "<td>%.3g</td>", kl_soak_variance(s) * scale * scale);
}

static void write_rows(struct kl_html *h, const char *name, const struct kl_soak_sums *s)
{
    const struct {
        const char *what;
        const struct kl_soak_spread *spread;
        double scale;
    } rows[] = {{"latency, s", &s->latency, 1},
                {"first text, ms", &s->first, 1e3},
                {"from text to text, ms", &s->gap, 1e3}};
    for (size_t i = 0; i < 3; i++) {
        KL_HTML(h, "<tr><td>");
        kl_html_text(h, name);
        KL_HTML(h, ": %s</td><td>%llu</td>", rows[i].what,
                (unsigned long long)rows[i].spread->histogram.count);
        write_spread(h, rows[i].spread, rows[i].scale);
        KL_HTML(h, "</tr>\n");
    }
}

static void write_results(struct kl_html *h)
{
    const struct kl_soak *s = soak_of(h);
    KL_HTML(h, "<table><tr><th>what</th><th>n</th><th>mean</th><th>p50</th><th>p95</th>"
               "<th>p99</th><th>max</th><th>variance</th></tr>\n");
    write_rows(h, "all", &s->all);
    for (size_t k = 0; k < s->prompts.n_kinds; k++)
        write_rows(h, s->prompts.names[k], &s->kinds[k]);
    KL_HTML(h, "</table>\n");
    if (kl_soak_failed(&s->all) == 0)
        return;
    KL_HTML(h, "<table><tr><th>failed</th><th>requests</th><th>the first one</th></tr>\n");
    for (enum kl_soak_outcome o = KL_SOAK_ANSWERED + 1; o < KL_SOAK_OUTCOMES; o++) {
        if (s->all.outcomes[o] == 0)
            continue;
        KL_HTML(h, "<tr><td>%s</td><td>%llu</td><td>", kl_soak_outcome_name(o),
                (unsigned long long)s->all.outcomes[o]);
        kl_html_text(h, s->errors[o]);
        KL_HTML(h, "</td></tr>\n");
    }
    KL_HTML(h, "</table>\n");
}

static void write_facts(struct kl_html *h)
{
    const struct kl_soak *s = soak_of(h);
    char text[64];
    KL_HTML(h, "<table class=\"facts\">\n");
    kl_html_fact(h, "Processor", s->machine.cpu);
    kl_html_fact(h, "Frequency governor", s->machine.governor);
    kl_format_bytes((double)s->machine.memory_bytes, text, sizeof text);
    kl_html_fact(h, "Memory", text);
    snprintf(text, sizeof text, "%.0f degrees Celsius", s->hottest);
    kl_html_fact(h, "Hottest", s->hottest > 0 ? text : "");
    snprintf(text, sizeof text, "%llu of %llu readings", (unsigned long long)s->throttled,
             (unsigned long long)s->readings);
    kl_html_fact(h, "Throttled at the time of a reading", s->last.knows_throttling ? text : "");
    snprintf(text, sizeof text, "%zu", s->options->generate);
    kl_html_fact(h, "Longest answer, tokens", text);
    kl_html_fact(h, "Tokens",
                 s->all.without_usage == 0 ? "counted by the server"
                                           : "texts, since the server counts no tokens");
    kl_html_fact(h, "Command", s->command);
    KL_HTML(h, "</table>\n");
}

static const struct kl_html_marker markers[] = {
    {"title", write_title}, {"about", write_about},     {"figures", write_figures},
    {"plots", write_plots}, {"results", write_results}, {"facts", write_facts},
};

enum kl_status kl_soak_write_page(const struct kl_soak *soak, struct kl_error *err)
{
    return kl_html_write(soak->options->report, soak, markers, sizeof markers / sizeof markers[0],
                         err);
}
