#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"
#include "bench/bench_soak.h"
#include "console/terminal.h"

uint64_t kl_soak_failed(const struct kl_soak_sums *sums)
{
    return sums->requests - sums->outcomes[KL_SOAK_ANSWERED];
}

static double rounds_of(const struct kl_soak *s)
{
    size_t begun = atomic_load(&s->next), most = s->options->rounds * s->prompts.n_items;
    if (most > 0 &&
        begun > most) /* each user takes one more item before it sees that all are done */
        begun = most;
    return (double)begun / (double)s->prompts.n_items;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void spread(struct kl_json *j, const char *name, const struct kl_soak_spread *s)
{
    kl_json_open(j, name, '{');
    kl_json_number(j, "n", (double)s->histogram.count);
    kl_json_number(j, "mean", s->mean);
    kl_json_number(j, "p50", kl_soak_quantile(s, 0.5));
    kl_json_number(j, "p95", kl_soak_quantile(s, 0.95));
    kl_json_number(j, "p99", kl_soak_quantile(s, 0.99));
    kl_json_number(j, "max", s->largest);
    kl_json_number(j, "variance", kl_soak_variance(s));
    kl_json_close(j, '}');
}

static void failures(struct kl_json *j, const struct kl_soak_sums *s)
{
    kl_json_open(j, "failures", '{');
    for (enum kl_soak_outcome o = KL_SOAK_ANSWERED + 1; o < KL_SOAK_OUTCOMES; o++)
        if (s->outcomes[o] > 0 && o != KL_SOAK_STATUS)
            kl_json_number(j, kl_soak_outcome_name(o), (double)s->outcomes[o]);
    for (size_t i = 0; i < KL_SOAK_STATUSES && s->statuses[i].n > 0; i++) {
        char name[32] = "other status";
        if (s->statuses[i].status != 0)
            snprintf(name, sizeof name, "status %d", s->statuses[i].status);
        kl_json_number(j, name, (double)s->statuses[i].n);
    }
    kl_json_close(j, '}');
}

static double success(const struct kl_soak_sums *s)
{
    return s->requests > 0 ? (double)s->outcomes[KL_SOAK_ANSWERED] / (double)s->requests : 0;
}

static void sums(struct kl_json *j, const char *name, const struct kl_soak_sums *s, double seconds)
{
    kl_json_open(j, name, '{');
    kl_json_number(j, "requests", (double)s->requests);
    kl_json_number(j, "answered", (double)s->outcomes[KL_SOAK_ANSWERED]);
    kl_json_number(j, "success", success(s));
    failures(j, s);
    spread(j, "latency_seconds", &s->latency);
    spread(j, "first_text_seconds", &s->first);
    spread(j, "gap_seconds", &s->gap);
    kl_json_number(j, "tokens", (double)s->tokens);
    kl_json_string(j, "tokens_from", s->without_usage == 0 ? "usage" : "texts");
    kl_json_number(j, "tokens_per_second", seconds > 0 ? (double)s->tokens / seconds : 0);
    kl_json_number(j, "writing_tokens_per_second", kl_soak_writing_speed(s));
    kl_json_close(j, '}');
}

static double mean(double sum, uint64_t n)
{
    return n > 0 ? sum / (double)n : 0;
}

static double speed(const struct kl_soak_point *p)
{
    return p->writing_seconds > 0 ? p->writing_tokens / p->writing_seconds : 0;
}

/* A figure that changes when memory leaks or the computer gets hot. */
struct drift {
    const char *name, *what, *unit; /* in JSON; in text */
    double scale;
    double first, last; /* in the first and the last tenth of the run */
};
#define N_DRIFTS 4

static void find_drift(const struct kl_soak *s, struct drift drifts[N_DRIFTS])
{
    const struct kl_soak_point a = kl_soak_series_tenth(&s->series, false);
    const struct kl_soak_point b = kl_soak_series_tenth(&s->series, true);
    const struct drift found[N_DRIFTS] = {
        {"latency_seconds", "latency", "s", 1, mean(a.latency, a.answered),
         mean(b.latency, b.answered)},
        {"first_text_seconds", "first text", "ms", 1e3, mean(a.first, a.answered),
         mean(b.first, b.answered)},
        {"writing_tokens_per_second", "writing", "tokens/s", 1, speed(&a), speed(&b)},
        {"resident_bytes", "resident memory", "MB", 1e-6, a.resident, b.resident},
    };
    memcpy(drifts, found, sizeof found);
}

static void drift(struct kl_json *j, const struct kl_soak *s)
{
    struct drift drifts[N_DRIFTS];
    find_drift(s, drifts);
    kl_json_open(j, "drift", '{');
    for (size_t i = 0; i < N_DRIFTS; i++) {
        kl_json_open(j, drifts[i].name, '{');
        kl_json_number(j, "first_tenth", drifts[i].first);
        kl_json_number(j, "last_tenth", drifts[i].last);
        kl_json_close(j, '}');
    }
    kl_json_close(j, '}');
}

/* Writes a list for each member of the points. */
static void series(struct kl_json *j, const struct kl_soak_series *s)
{
    static double values[KL_SOAK_POINTS];
    kl_json_open(j, "series", '{');
    kl_json_number(j, "interval_seconds", s->interval);
#define LIST(name, value)                                                                          \
    do {                                                                                           \
        for (size_t i = 0; i < s->n; i++) {                                                        \
            const struct kl_soak_point *p = &s->points[i];                                         \
            values[i] = (value);                                                                   \
        }                                                                                          \
        kl_json_numbers(j, name, values, s->n);                                                    \
    } while (0)
    LIST("answered", (double)p->answered);
    LIST("failed", (double)p->failed);
    LIST("latency_seconds", mean(p->latency, p->answered));
    LIST("latency_seconds_max", p->latency_max);
    LIST("first_text_seconds", mean(p->first, p->answered));
    LIST("first_text_seconds_max", p->first_max);
    LIST("writing_tokens_per_second", speed(p));
    LIST("resident_bytes", p->resident);
    LIST("anonymous_bytes", p->anonymous);
    LIST("swap_bytes", p->swap);
    LIST("celsius", p->celsius);
    LIST("mhz", p->mhz);
#undef LIST
    kl_json_close(j, '}');
}

static void memory(struct kl_json *j, const struct kl_soak *s)
{
    kl_json_open(j, "memory_bytes", '{');
    kl_json_number(j, "resident", s->last.resident);
    kl_json_number(j, "anonymous", s->last.anonymous);
    kl_json_number(j, "file", s->last.file);
    kl_json_number(j, "swap", s->last.swap);
    kl_json_number(j, "peak", s->peak);
    kl_json_close(j, '}');
}

void kl_soak_json(const struct kl_soak *s, struct kl_printer *out)
{
    struct kl_json writer = {.out = out}, *j = &writer;
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "server", s->base);
    kl_json_string(j, "model", s->model);
    kl_json_number(j, "seconds", s->lasted);
    kl_json_number(j, "rounds", rounds_of(s));
    kl_json_number(j, "people", (double)s->options->users);
    kl_json_number(j, "generate", (double)s->options->generate);
    sums(j, "all", &s->all, s->lasted);
    kl_json_open(j, "kinds", '{');
    for (size_t k = 0; k < s->prompts.n_kinds; k++)
        sums(j, s->prompts.names[k], &s->kinds[k], s->lasted);
    kl_json_close(j, '}');
    kl_json_open(j, "first_errors", '{');
    for (enum kl_soak_outcome o = KL_SOAK_ANSWERED + 1; o < KL_SOAK_OUTCOMES; o++)
        if (s->errors[o][0] != '\0')
            kl_json_string(j, kl_soak_outcome_name(o), s->errors[o]);
    kl_json_close(j, '}');
    if (s->last.resident > 0)
        memory(j, s);
    if (s->hottest > 0)
        kl_json_number(j, "hottest_celsius", s->hottest);
    if (s->last.knows_throttling)
        kl_json_number(j, "throttled", (double)s->throttled / (double)s->readings);
    drift(j, s);
    series(j, &s->series);
    kl_json_string(j, "cpu", s->machine.cpu);
    kl_json_string(j, "command", s->command);
    kl_json_string(j, "date", s->date);
    kl_json_string(j, "version", KL_VERSION);
    kl_json_close(j, '}');
    kl_print(out, "\n");
}

/* ---- text ------------------------------------------------------------------------------------ */

static void say_row(struct kl_printer *out, const char *name, const struct kl_soak_sums *s)
{
    const struct kl_soak_spread *const spreads[] = {&s->latency, &s->first, &s->gap};
    static const double scales[] = {1, 1e3, 1e3};
    static const int digits[] = {3, 0, 1};
    kl_print(out, "%-14s %8llu %6llu", name, (unsigned long long)s->requests,
             (unsigned long long)kl_soak_failed(s));
    for (size_t i = 0; i < 3; i++) {
        const double shown[] = {i < 2 ? spreads[i]->mean : kl_soak_quantile(spreads[i], 0.5),
                                kl_soak_quantile(spreads[i], i < 2 ? 0.5 : 0.95),
                                kl_soak_quantile(spreads[i], i < 2 ? 0.95 : 0.99),
                                i < 2 ? kl_soak_quantile(spreads[i], 0.99) : spreads[i]->largest};
        kl_print(out, " ");
        for (size_t k = 0; k < 4; k++)
            kl_print(out, " %7.*f", digits[i], shown[k] * scales[i]);
    }
    kl_print(out, "  %8.1f\n", kl_soak_writing_speed(s));
}

static void say_failures(struct kl_printer *out, const struct kl_soak *s)
{
    kl_print(out, "success: %.2f %% of %llu requests\n", 100 * success(&s->all),
             (unsigned long long)s->all.requests);
    for (enum kl_soak_outcome o = KL_SOAK_ANSWERED + 1; o < KL_SOAK_OUTCOMES; o++)
        if (s->all.outcomes[o] > 0)
            kl_print(out, "  %s: %llu; the first one: %s\n", kl_soak_outcome_name(o),
                     (unsigned long long)s->all.outcomes[o], s->errors[o]);
    for (size_t i = 0; i < KL_SOAK_STATUSES && s->all.statuses[i].n > 0; i++)
        if (s->all.statuses[i].status != 0)
            kl_print(out, "  status %d: %llu\n", s->all.statuses[i].status,
                     (unsigned long long)s->all.statuses[i].n);
}

static void say_machine(struct kl_printer *out, const struct kl_soak *s)
{
    char size[5][32];
    const struct kl_soak_reading *r = &s->last;
    if (r->anonymous > 0)
        kl_print(out, "memory: resident %s: files %s, anonymous %s; swapped out %s; peak %s\n",
                 kl_format_bytes(r->resident, size[0], sizeof size[0]),
                 kl_format_bytes(r->file, size[1], sizeof size[1]),
                 kl_format_bytes(r->anonymous, size[2], sizeof size[2]),
                 kl_format_bytes(r->swap, size[3], sizeof size[3]),
                 kl_format_bytes(s->peak, size[4], sizeof size[4]));
    else if (r->resident > 0)
        kl_print(out, "memory: resident %s, peak %s, as reported by the server\n",
                 kl_format_bytes(r->resident, size[0], sizeof size[0]),
                 kl_format_bytes(s->peak, size[1], sizeof size[1]));
    else
        kl_print(out, "memory: not known; --pid PID shows that of a server on this computer\n");
    if (s->hottest > 0)
        kl_print(out, "temperature: at most %.0f degrees Celsius\n", s->hottest);
    if (r->knows_throttling)
        kl_print(out, "throttled: in %llu of %llu readings\n", (unsigned long long)s->throttled,
                 (unsigned long long)s->readings);
    if (s->hottest <= 0 && !r->knows_throttling)
        kl_print(out, "temperature and throttling: not reported by this (virtual) computer\n");
}

static void say_drift(struct kl_printer *out, const struct kl_soak *s)
{
    struct drift drifts[N_DRIFTS];
    size_t known = 0;
    find_drift(s, drifts);
    for (size_t i = 0; i < N_DRIFTS; i++) {
        const struct drift *d = &drifts[i];
        if (d->first <= 0 || d->last <= 0) /* no answers in one of the tenths */
            continue;
        kl_print(out, "%s%s %.3g to %.3g %s (%+.1f %%)",
                 known++ > 0 ? "; " : "from the first to the last tenth: ", d->what,
                 d->first * d->scale, d->last * d->scale, d->unit, 100 * (d->last / d->first - 1));
    }
    kl_print(out, "%s", known > 0 ? "\n" : "");
}

void kl_soak_text(const struct kl_soak *s, struct kl_printer *out)
{
    char lasted[32];
    kl_print(out, "%s at %s: %s, %.2f rounds\n", s->model, s->base,
             kl_format_duration(s->lasted, lasted, sizeof lasted), rounds_of(s));
    kl_print(out, "%-30s  %31s  %31s  %31s\n", "", "latency, s", "first text, ms",
             "from text to text, ms");
    kl_print(out, "%-14s %8s %6s", "", "requests", "failed");
    for (size_t i = 0; i < 3; i++)
        kl_print(out, "  %7s %7s %7s %7s", i < 2 ? "mean" : "p50", i < 2 ? "p50" : "p95",
                 i < 2 ? "p95" : "p99", i < 2 ? "p99" : "max");
    kl_print(out, "  %8s\n", "tokens/s");
    for (size_t k = 0; k < s->prompts.n_kinds; k++)
        say_row(out, s->prompts.names[k], &s->kinds[k]);
    say_row(out, "all", &s->all);
    say_failures(out, s);
    kl_print(out, "variance: latency %.4g s^2, first text %.4g ms^2, from text to text %.4g ms^2\n",
             kl_soak_variance(&s->all.latency), 1e6 * kl_soak_variance(&s->all.first),
             1e6 * kl_soak_variance(&s->all.gap));
    kl_print(out, "tokens: %llu (%s), %.1f a second over the whole run\n",
             (unsigned long long)s->all.tokens,
             s->all.without_usage == 0 ? "counted by the server" : "texts counted, not tokens",
             s->lasted > 0 ? (double)s->all.tokens / s->lasted : 0);
    say_machine(out, s);
    say_drift(out, s);
}
