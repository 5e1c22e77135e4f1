#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench_soak.h"

/* ---- values ---------------------------------------------------------------------------------- */

/* From 0.1 ms to 1000 s, each 4.1 % above the one before: values spread evenly in a bucket are
 * estimated within 2 %. */
#define N_BOUNDS KL_MAX_BOUNDS
#define LOWEST   1e-4
#define HIGHEST  1e3

static double bounds[N_BOUNDS];
static pthread_once_t bounds_once = PTHREAD_ONCE_INIT;

static void make_bounds(void)
{
    for (size_t i = 0; i < N_BOUNDS; i++)
        bounds[i] = LOWEST * pow(HIGHEST / LOWEST, (double)i / (N_BOUNDS - 1));
}

void kl_soak_spread_init(struct kl_soak_spread *spread)
{
    pthread_once(&bounds_once, make_bounds);
    *spread = (struct kl_soak_spread){0};
    kl_histogram_init(&spread->histogram, bounds, N_BOUNDS);
}

/* Welford's recurrence: no difference of large sums. */
void kl_soak_spread_add(struct kl_soak_spread *spread, double seconds)
{
    kl_histogram_add(&spread->histogram, seconds);
    double distance = seconds - spread->mean;
    spread->mean += distance / (double)spread->histogram.count;
    spread->squares += distance * (seconds - spread->mean);
    spread->largest = fmax(spread->largest, seconds);
}

double kl_soak_variance(const struct kl_soak_spread *spread)
{
    return spread->histogram.count > 0 ? spread->squares / (double)spread->histogram.count : 0;
}

double kl_soak_quantile(const struct kl_soak_spread *spread, double share)
{
    return fmin(kl_histogram_quantile(&spread->histogram, share), spread->largest);
}

/* ---- sums ------------------------------------------------------------------------------------ */

const char *kl_soak_outcome_name(enum kl_soak_outcome outcome)
{
    static const char *const names[KL_SOAK_OUTCOMES] = {"answered", "connect", "timeout", "status",
                                                        "cut",      "error",   "broken",  "empty"};
    return names[outcome];
}

void kl_soak_sums_init(struct kl_soak_sums *sums)
{
    *sums = (struct kl_soak_sums){0};
    kl_soak_spread_init(&sums->latency);
    kl_soak_spread_init(&sums->first);
    kl_soak_spread_init(&sums->gap);
}

static void count_status(struct kl_soak_sums *sums, int status)
{
    size_t i = 0;
    while (i < KL_SOAK_STATUSES - 1 && sums->statuses[i].n > 0 &&
           sums->statuses[i].status != status)
        i++;
    sums->statuses[i].n++;
    sums->statuses[i].status = i < KL_SOAK_STATUSES - 1 ? status : 0;
}

/* Returns the number of tokens, or of texts where the server does not count tokens. */
static size_t tokens_of(const struct kl_soak_answer *answer)
{
    return answer->tokens > 0 ? answer->tokens : answer->texts;
}

/* Adds the tokens of an answer after its first text, and the time they took. */
static void add_writing(const struct kl_soak_answer *answer, double *tokens, double *seconds)
{
    if (tokens_of(answer) < 2 || answer->last <= answer->first)
        return;
    *tokens += (double)(tokens_of(answer) - 1);
    *seconds += answer->last - answer->first;
}

void kl_soak_sums_add(struct kl_soak_sums *sums, const struct kl_soak_answer *answer)
{
    sums->requests++;
    sums->outcomes[answer->outcome]++;
    if (answer->outcome == KL_SOAK_STATUS)
        count_status(sums, answer->status);
    if (answer->outcome != KL_SOAK_ANSWERED)
        return;
    kl_soak_spread_add(&sums->latency, answer->end);
    kl_soak_spread_add(&sums->first, answer->first);
    sums->tokens += tokens_of(answer);
    sums->without_usage += answer->tokens == 0;
    add_writing(answer, &sums->writing_tokens, &sums->writing_seconds);
}

double kl_soak_writing_speed(const struct kl_soak_sums *sums)
{
    return sums->writing_seconds > 0 ? sums->writing_tokens / sums->writing_seconds : 0;
}

/* ---- the series ------------------------------------------------------------------------------ */

void kl_soak_series_init(struct kl_soak_series *series)
{
    *series = (struct kl_soak_series){.interval = 1};
}

/* Merges interval b into a. */
static void merge(struct kl_soak_point *a, const struct kl_soak_point *b)
{
    a->answered += b->answered;
    a->failed += b->failed;
    a->latency += b->latency;
    a->latency_max = fmax(a->latency_max, b->latency_max);
    a->first += b->first;
    a->first_max = fmax(a->first_max, b->first_max);
    a->writing_tokens += b->writing_tokens;
    a->writing_seconds += b->writing_seconds;
    a->resident = fmax(a->resident, b->resident);
    a->anonymous = fmax(a->anonymous, b->anonymous);
    a->swap = fmax(a->swap, b->swap);
    a->celsius = fmax(a->celsius, b->celsius);
    a->mhz = a->mhz > 0 && b->mhz > 0 ? fmin(a->mhz, b->mhz) : fmax(a->mhz, b->mhz);
}

static void halve(struct kl_soak_series *series)
{
    size_t n = (series->n + 1) / 2;
    for (size_t i = 0; i < n; i++) {
        struct kl_soak_point both = series->points[2 * i];
        if (2 * i + 1 < series->n)
            merge(&both, &series->points[2 * i + 1]);
        series->points[i] = both;
    }
    memset(&series->points[n], 0, (KL_SOAK_POINTS - n) * sizeof series->points[0]);
    series->n = n;
    series->interval *= 2;
}

struct kl_soak_point *kl_soak_series_at(struct kl_soak_series *series, double time)
{
    while (time >= series->interval * KL_SOAK_POINTS)
        halve(series);
    size_t i = (size_t)(time / series->interval);
    if (i >= series->n)
        series->n = i + 1;
    return &series->points[i];
}

void kl_soak_point_answer(struct kl_soak_point *point, const struct kl_soak_answer *answer)
{
    if (answer->outcome != KL_SOAK_ANSWERED) {
        point->failed++;
        return;
    }
    struct kl_soak_point one = {.answered = 1,
                                .latency = answer->end,
                                .latency_max = answer->end,
                                .first = answer->first,
                                .first_max = answer->first};
    add_writing(answer, &one.writing_tokens, &one.writing_seconds);
    merge(point, &one);
}

void kl_soak_point_reading(struct kl_soak_point *point, const struct kl_soak_reading *reading)
{
    const struct kl_soak_point one = {.resident = reading->resident,
                                      .anonymous = reading->anonymous,
                                      .swap = reading->swap,
                                      .celsius = reading->celsius,
                                      .mhz = reading->mhz};
    merge(point, &one);
}

struct kl_soak_point kl_soak_series_tenth(const struct kl_soak_series *series, bool last)
{
    struct kl_soak_point all = {0};
    size_t n = (series->n + 9) / 10, begin = last ? series->n - n : 0;
    for (size_t i = begin; i < begin + n; i++)
        merge(&all, &series->points[i]);
    return all;
}
