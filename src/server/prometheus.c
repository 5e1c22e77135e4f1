/*
 * GET /metrics: the metrics of metrics.h and some of the process, in Prometheus' text format
 * (version 0.0.4, "Exposition formats" in its documentation). Names begin with kinglet_ and have
 * base units; those of counters end with _total.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/server_state.h"

#define TEXT_CAP ((size_t)256 << 10)

struct page {
    struct kl_buffer text;
    enum kl_status status; /* the first append that failed */
    const char *last;      /* the last name with a HELP line */
};

#define ADD(page, ...)                                                                             \
    do {                                                                                           \
        if ((page)->status == KL_OK)                                                               \
            (page)->status = kl_buffer_append_format(&(page)->text, __VA_ARGS__);                  \
    } while (0)

static const char *suffix(enum kl_metric_type type)
{
    return type == KL_METRIC_COUNTER ? "_total" : "";
}

/* Writes HELP and TYPE, once for all values of a name. */
static void describe(struct page *p, const char *name, const char *help, enum kl_metric_type type)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    if (p->last != NULL && strcmp(p->last, name) == 0)
        return;
    p->last = name;
    ADD(p, "# HELP kinglet_%s%s %s\n# TYPE kinglet_%s%s %s\n", name, suffix(type), help, name,
        suffix(type), types[type]);
}

static void add_histogram(struct page *p, const char *name, const struct kl_histogram *h)
{
    uint64_t below = 0;
    for (size_t i = 0; i < h->n_bounds; i++) {
        below += h->counts[i];
        ADD(p, "kinglet_%s_bucket{le=\"%g\"} %llu\n", name, h->bounds[i],
            (unsigned long long)below);
    }
    ADD(p, "kinglet_%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)h->count);
    ADD(p, "kinglet_%s_sum %.9g\nkinglet_%s_count %llu\n", name, h->sum, name,
        (unsigned long long)h->count);
}

/* Writes the value of a label; backslash, quote and line end are escaped. */
static void add_label(struct page *p, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n')
            ADD(p, "\\n");
        else
            ADD(p, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
    }
}

static void add_metric(void *context, const struct kl_metric *m)
{
    struct page *p = context;
    describe(p, m->name, m->help, m->type);
    if (m->type == KL_METRIC_HISTOGRAM) {
        add_histogram(p, m->name, m->histogram);
    } else if (m->label != NULL) {
        ADD(p, "kinglet_%s%s{%s=\"", m->name, suffix(m->type), m->label);
        add_label(p, m->label_value);
        ADD(p, "\"} %.15g\n", m->value);
    } else {
        ADD(p, "kinglet_%s%s %.15g\n", m->name, suffix(m->type), m->value);
    }
}

static void add_value(struct page *p, const char *name, const char *help, enum kl_metric_type type,
                      double value)
{
    add_metric(p, &(struct kl_metric){.name = name, .help = help, .type = type, .value = value});
}

static void add_build(struct page *p, const struct kl_server *server)
{
    describe(p, "build_info", "version of the program and name of the model; always 1",
             KL_METRIC_GAUGE);
    ADD(p, "kinglet_build_info{version=\"%s\",model=\"", KL_VERSION);
    if (!kl_service_is_loading(&server->service))
        add_label(p, kl_service_default(&server->service)->model_name);
    ADD(p, "\"} 1\n");
}

/* Returns the most memory that this process may use: the least of its budget, the limits of its
 * control groups, and the memory of the computer. */
static uint64_t memory_limit(const struct kl_server *server)
{
    struct kl_memory memory;
    kl_memory_read("", &memory);
    uint64_t limit = memory.total;
    if (memory.limit != 0 && memory.limit < limit)
        limit = memory.limit;
    if (server->memory_budget != 0 && server->memory_budget < limit)
        limit = server->memory_budget;
    return limit;
}

static void add_process(struct page *p, const struct kl_server *server)
{
    struct kl_resident memory = kl_memory_resident();
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const struct kl_connection_counts *c = kl_http_counts(server->http);
    static const char refused_help[] = "connections that were closed, by cause";
    add_build(p, server);
    add_value(p, "ready", "1 while requests are answered, 0 while the server loads or stops",
              KL_METRIC_GAUGE,
              !kl_http_is_draining(server->http) && !kl_service_is_loading(&server->service));
    add_value(p, "uptime_seconds", "time since the start", KL_METRIC_GAUGE,
              kl_seconds_since(server->service.start_ns));
    add_value(p, "cpu_seconds", "processor time of all threads", KL_METRIC_COUNTER,
              (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9);
    add_value(p, "resident_memory_bytes", "resident memory, including mapped weights",
              KL_METRIC_GAUGE, (double)memory.all);
    add_value(p, "anonymous_memory_bytes", "resident memory that is not mapped from a file",
              KL_METRIC_GAUGE, (double)memory.anonymous);
    add_value(
        p, "memory_limit_bytes",
        "memory limit: the least of --memory, the control groups' limit, and the computer's memory",
        KL_METRIC_GAUGE, (double)memory_limit(server));
    add_value(p, "log_lines_dropped", "log lines that could not be written to stderr",
              KL_METRIC_COUNTER, (double)kl_log_dropped());
    add_value(p, "connections_accepted", "connections that were accepted", KL_METRIC_COUNTER,
              (double)c->accepted);
    add_value(p, "accept_failures", "failed attempts to accept a connection", KL_METRIC_COUNTER,
              (double)c->accept_failures);
    add_value(p, "connection_held_bytes", "requests and answers held in memory by connections",
              KL_METRIC_GAUGE, (double)kl_http_held(server->http));
    const struct kl_metric closed[] = {
        {"connections_closed", refused_help, KL_METRIC_COUNTER, "cause", "too_many",
         (double)c->refused, NULL},
        {"connections_closed", refused_help, KL_METRIC_COUNTER, "cause", "made_room",
         (double)c->evicted, NULL},
        {"connections_closed", refused_help, KL_METRIC_COUNTER, "cause", "held_most",
         (double)c->held_most, NULL},
        {"connections_closed", refused_help, KL_METRIC_COUNTER, "cause", "request_late",
         (double)c->requests_late, NULL},
        {"connections_closed", refused_help, KL_METRIC_COUNTER, "cause", "reader_late",
         (double)c->readers_late, NULL},
    };
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++)
        add_metric(p, &closed[i]);
}

KL_HANDLER(kl_handle_metrics)
{
    const struct kl_server *server = kl_server_of(x);
    struct page p = {0};
    struct kl_engine_stats engine = {0};
    kl_buffer_init(&p.text, TEXT_CAP);
    if (!kl_service_is_loading(&server->service))
        kl_hosted_stats(&server->service.host.models[0], &engine);
    add_process(&p, server);
    kl_metrics_walk(&server->service.metrics, &engine, add_metric, &p);
    kl_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8",
                  p.status == KL_OK ? p.text.data : NULL);
    kl_buffer_release(&p.text);
}
