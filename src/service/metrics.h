/*
 * The metrics of the server: its own counters and histograms, and the statistics of the engine.
 * /health shows them; kl_metrics_walk passes name, help, type and value of each to a function, for
 * other formats.
 *
 * Thread rule: written and read by the server's thread only, without a lock. The caller passes a
 * copy of the engine's statistics.
 */
#ifndef KL_SERVICE_METRICS_H
#define KL_SERVICE_METRICS_H

#include <stdint.h>

#include "base/histogram.h"
#include "engine/engine.h"
#include "service/answer_store.h"
#include "service/live_answer.h"

struct kl_history;
struct kl_model_host;

enum kl_counter {
    /* requests of clients, by the way they ended */
    KL_COUNT_ANSWERED,
    KL_COUNT_COMPUTED, /* without the model */
    KL_COUNT_FAILED,
    KL_COUNT_REFUSED_FULL,
    KL_COUNT_REFUSED_WAIT,
    KL_COUNT_REFUSED_DEADLINE,
    KL_COUNT_LEFT,     /* the client disconnected */
    KL_COUNT_SLOW,     /* the client did not read */
    KL_COUNT_DEADLINE, /* the deadline passed, before or after the first text */
    KL_COUNT_STOPPED,  /* the server was stopped */
    /* messages left out of conversations that were too long */
    KL_COUNT_TRIMMED,
    /* lines of system messages that were moved (late_lines.h) */
    KL_COUNT_LATE_LINES,
    KL_N_COUNTERS
};

enum kl_duration {
    KL_DURATION_QUEUE,       /* from the request to its first step */
    KL_DURATION_FIRST_TOKEN, /* from the request to the first piece of its answer */
    KL_DURATION_TOKEN,       /* from one piece to the next */
    KL_DURATION_REQUEST,     /* from the request to the end of its answer, if it was answered */
    KL_N_DURATIONS
};

struct kl_metrics {
    uint64_t counts[KL_N_COUNTERS];
    struct kl_histogram durations[KL_N_DURATIONS]; /* seconds */
    struct kl_answer_store *answers;               /* its figures are shown, too; NULL: none */
    const struct kl_live_answers *live;            /* as well; NULL: none */
    const struct kl_history *history;              /* the same of kept chats */
    const struct kl_model_host *host;              /* and of the models */
};

enum kl_metric_type { KL_METRIC_COUNTER, KL_METRIC_GAUGE, KL_METRIC_HISTOGRAM };

/* One value. Values of the same name follow each other and differ in the value of the label. */
struct kl_metric {
    const char *name; /* "requests" */
    const char *help;
    enum kl_metric_type type;
    const char *label, *label_value; /* NULL: the name has only one value */
    double value;                    /* of counters and gauges */
    const struct kl_histogram *histogram;
};

void kl_metrics_init(struct kl_metrics *metrics);

typedef void kl_metric_fn(void *context, const struct kl_metric *metric);

/* Calls see for each value, in a fixed order. */
void kl_metrics_walk(const struct kl_metrics *metrics, const struct kl_engine_stats *engine,
                     kl_metric_fn *see, void *context);

#endif
