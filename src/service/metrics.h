/*
 * What the server counts and measures, in one place: counters and histograms of its own, beside
 * what the engine measured. /health shows them; a walk gives name, help, type and value of each to
 * a function that writes them in another form.
 *
 * Written and read by the server's thread only, so nothing is locked; of the engine a copy of its
 * statistics is taken.
 */
#ifndef KL_SERVICE_METRICS_H
#define KL_SERVICE_METRICS_H

#include <stdint.h>

#include "base/histogram.h"
#include "engine/engine.h"

enum kl_counter {
    /* requests of clients, by how they ended */
    KL_COUNT_ANSWERED,
    KL_COUNT_FAILED,
    KL_COUNT_REFUSED_FULL,
    KL_COUNT_REFUSED_WAIT,
    KL_COUNT_REFUSED_DEADLINE,
    KL_COUNT_LEFT,     /* the client went away */
    KL_COUNT_SLOW,     /* the client did not read */
    KL_COUNT_DEADLINE, /* time was up, whether something had been said or not */
    KL_COUNT_STOPPED,  /* the server ended */
    /* messages left out of conversations that were too long */
    KL_COUNT_TRIMMED,
    KL_N_COUNTERS
};

enum kl_duration {
    KL_DURATION_QUEUE,       /* until the first step */
    KL_DURATION_FIRST_TOKEN, /* from the request to the first piece of its answer */
    KL_DURATION_TOKEN,       /* from one piece to the next */
    KL_DURATION_REQUEST,     /* of those that were answered */
    KL_N_DURATIONS
};

struct kl_metrics {
    uint64_t counts[KL_N_COUNTERS];
    struct kl_histogram durations[KL_N_DURATIONS]; /* seconds */
};

enum kl_metric_type { KL_METRIC_COUNTER, KL_METRIC_GAUGE, KL_METRIC_HISTOGRAM };

/* One of them. Those of one name follow each other and differ in the label's value. */
struct kl_metric {
    const char *name; /* "requests" */
    const char *help;
    enum kl_metric_type type;
    const char *label, *label_value; /* NULL: the name has only one value */
    double value;                    /* but for histograms */
    const struct kl_histogram *histogram;
};

void kl_metrics_init(struct kl_metrics *metrics);

/* Calls see for each, in a fixed order. */
void kl_metrics_walk(const struct kl_metrics *metrics, const struct kl_engine_stats *engine,
                     void (*see)(void *context, const struct kl_metric *metric), void *context);

#endif
