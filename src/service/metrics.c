#include "service/metrics.h"

#include <stddef.h>

#include "history/history.h"
#include "service/model_host.h"

/* Upper bounds of the buckets in seconds: from a step of a small model to the longest answers. The
 * bounds between tokens are close together around 1/30 s. */
static const double wait_bounds[] = {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300};
static const double token_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06,
                                      0.08,  0.1,   0.15, 0.2,  0.5,  1,    5};

struct counter_row {
    const char *name, *help, *label, *label_value;
};

static const char requests_help[] = "requests for answers, by the way they ended";

static const struct counter_row counter_rows[KL_N_COUNTERS] = {
    [KL_COUNT_ANSWERED] = {"requests", requests_help, "end", "answered"},
    [KL_COUNT_COMPUTED] = {"requests", requests_help, "end", "computed"},
    [KL_COUNT_FAILED] = {"requests", requests_help, "end", "failed"},
    [KL_COUNT_REFUSED_FULL] = {"requests", requests_help, "end", "refused_queue_full"},
    [KL_COUNT_REFUSED_WAIT] = {"requests", requests_help, "end", "refused_wait"},
    [KL_COUNT_REFUSED_DEADLINE] = {"requests", requests_help, "end", "refused_deadline"},
    [KL_COUNT_LEFT] = {"requests", requests_help, "end", "client_left"},
    [KL_COUNT_SLOW] = {"requests", requests_help, "end", "slow_reader"},
    [KL_COUNT_DEADLINE] = {"requests", requests_help, "end", "deadline"},
    [KL_COUNT_STOPPED] = {"requests", requests_help, "end", "stopped"},
    [KL_COUNT_TRIMMED] = {"messages_left_out",
                          "messages left out of conversations longer than the context", NULL, NULL},
    [KL_COUNT_LATE_LINES] = {"late_lines",
                             "lines of system messages that were moved (--late-lines)", NULL, NULL},
};

static const struct {
    const char *name, *help;
} duration_rows[KL_N_DURATIONS] = {
    [KL_DURATION_QUEUE] = {"queue_seconds", "from a request to its first step"},
    [KL_DURATION_FIRST_TOKEN] = {"first_token_seconds",
                                 "from a request to the first piece of its answer"},
    [KL_DURATION_TOKEN] = {"token_seconds", "from one piece of an answer to the next"},
    [KL_DURATION_REQUEST] = {"request_seconds", "from a request to the end of its answer"},
};

void kl_metrics_init(struct kl_metrics *m)
{
    *m = (struct kl_metrics){0};
    for (size_t i = 0; i < KL_N_DURATIONS; i++) {
        if (i == KL_DURATION_TOKEN)
            kl_histogram_init(&m->durations[i], token_bounds,
                              sizeof token_bounds / sizeof token_bounds[0]);
        else
            kl_histogram_init(&m->durations[i], wait_bounds,
                              sizeof wait_bounds / sizeof wait_bounds[0]);
    }
}

static void see_counter(const char *name, const char *help, const char *label, const char *value,
                        uint64_t count, kl_metric_fn *see, void *context)
{
    see(context, &(struct kl_metric){.name = name,
                                     .help = help,
                                     .type = KL_METRIC_COUNTER,
                                     .label = label,
                                     .label_value = value,
                                     .value = (double)count});
}

static void see_drafts(const struct kl_engine_stats *e, kl_metric_fn *see, void *context)
{
    static const char *const rows[] = {"1", "2",  "3",  "4",  "5",  "6",  "7",  "8",
                                       "9", "10", "11", "12", "13", "14", "15", "16+"};
    _Static_assert(sizeof rows / sizeof rows[0] == KL_PASS_COSTS, "a name for each");
    for (enum kl_draft_source s = 0; s < KL_N_DRAFT_SOURCES; s++)
        see_counter("tokens_drafted",
                    "guessed tokens that were computed, by the source of the guess", "source",
                    kl_draft_source_name(s), e->drafted_tokens[s], see, context);
    for (enum kl_draft_source s = 0; s < KL_N_DRAFT_SOURCES; s++)
        see_counter("tokens_accepted", "guessed tokens that became part of an answer", "source",
                    kl_draft_source_name(s), e->accepted_tokens[s], see, context);
    for (size_t i = 0; i < KL_PASS_COSTS; i++)
        see_counter("decode_passes", "passes without prompt rows, by their rows", "rows", rows[i],
                    e->decode_passes[i], see, context);
    for (size_t i = 0; i < KL_PASS_COSTS; i++)
        see(context, &(struct kl_metric){.name = "pass_cost",
                                         .help = "what a pass costs, of one with one row, by its "
                                                 "rows: as measured at the first start",
                                         .type = KL_METRIC_GAUGE,
                                         .label = "rows",
                                         .label_value = rows[i],
                                         .value = (double)e->pass_costs.cost[i]});
}

static void see_answers(const struct kl_metrics *m, kl_metric_fn *see, void *context)
{
    struct kl_answer_store_stats kept = {0};
    size_t n_running = 0, n_ended = 0;
    static const char live_help[] = "answers with X-Answer-Id, which outlive their client";
    if (m->answers != NULL)
        kl_answer_store_read(m->answers, &kept);
    if (m->live != NULL)
        n_running = kl_live_answers_count(m->live, &n_ended);
    const struct kl_metric rows[] = {
        {"kept_answers", "answers of /v1/responses that can be read again", KL_METRIC_GAUGE, NULL,
         NULL, (double)kept.n_kept, NULL},
        {"live_answers", live_help, KL_METRIC_GAUGE, "state", "running", (double)n_running, NULL},
        {"live_answers", live_help, KL_METRIC_GAUGE, "state", "ended", (double)n_ended, NULL},
        {"kept_answer_bytes", "size of both, and of what running ones of /v1/responses may keep",
         KL_METRIC_GAUGE, NULL, NULL, (double)kept.bytes, NULL},
        {"kept_answers_removed", "kept answers that made room for others", KL_METRIC_COUNTER, NULL,
         NULL, (double)kept.n_removed, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        see(context, &rows[i]);
}

static void see_history(const struct kl_metrics *m, kl_metric_fn *see, void *context)
{
    struct kl_history_stats kept = {0};
    if (m->history != NULL)
        kl_history_read_stats(m->history, &kept);
    const struct kl_metric rows[] = {
        {"history_chats", "chats that are kept (--history)", KL_METRIC_GAUGE, NULL, NULL,
         (double)kept.n_chats, NULL},
        {"history_bytes", "size of kept chats on the disk", KL_METRIC_GAUGE, NULL, NULL,
         (double)kept.bytes, NULL},
        {"history_max_bytes", "limit of kept chats on the disk; 0: none are kept", KL_METRIC_GAUGE,
         NULL, NULL, (double)kept.max_bytes, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        see(context, &rows[i]);
}

/* The figures of each model that all others are only of the default. */
static void see_each_model(const struct kl_model_host *host, kl_metric_fn *see, void *context)
{
    enum { ACTIVE, ANSWER, PROMPT, N_ROWS };
    for (size_t row = 0; row < N_ROWS; row++) {
        for (size_t i = 0; i < host->n; i++) {
            struct kl_engine_stats e;
            kl_hosted_stats(&host->models[i], &e);
            const struct kl_metric rows[N_ROWS] = {
                {"model_requests_active", "requests in the engine of each model", KL_METRIC_GAUGE,
                 "model", host->models[i].served.model_name, (double)(e.running + e.queued), NULL},
                {"model_answer_tokens", "tokens of answers, by model, since it was opened",
                 KL_METRIC_COUNTER, "model", host->models[i].served.model_name,
                 (double)e.answer_tokens, NULL},
                {"model_prompt_tokens", "tokens of prompts, by model, since it was opened",
                 KL_METRIC_COUNTER, "model", host->models[i].served.model_name,
                 (double)e.prompt_tokens, NULL},
            };
            see(context, &rows[row]);
        }
    }
}

static void see_models(const struct kl_metrics *m, kl_metric_fn *see, void *context)
{
    static const char models_help[] = "models, by whether they are open";
    size_t n_open = 0, n = m->host != NULL ? m->host->n : 0;
    if (n < 2)
        return; /* as long as there is one, all other figures are about it */
    for (size_t i = 0; i < n; i++)
        n_open += kl_hosted_is_open(&m->host->models[i]);
    const struct kl_metric rows[] = {
        {"models", models_help, KL_METRIC_GAUGE, "state", "open", (double)n_open, NULL},
        {"models", models_help, KL_METRIC_GAUGE, "state", "closed", (double)(n - n_open), NULL},
        {"models_opened", "models that were opened for a request", KL_METRIC_COUNTER, NULL, NULL,
         (double)m->host->n_opened, NULL},
        {"models_failed", "openings of models that failed", KL_METRIC_COUNTER, NULL, NULL,
         (double)m->host->n_failed, NULL},
        {"models_closed", "models that were closed", KL_METRIC_COUNTER, NULL, NULL,
         (double)m->host->n_closed, NULL},
        {"models_replaced", "of these: for another one's place", KL_METRIC_COUNTER, NULL, NULL,
         (double)m->host->n_changes, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        see(context, &rows[i]);
    see_each_model(m->host, see, context);
}

void kl_metrics_walk(const struct kl_metrics *m, const struct kl_engine_stats *e, kl_metric_fn *see,
                     void *context)
{
    static const char tokens_help[] = "tokens, by their use";
    static const char active_help[] =
        "requests in the engine; paused ones wait for a client to read";
    static const char pages_help[] = "pages of the prefix cache on disk, by event";
    for (size_t i = 0; i < KL_N_COUNTERS; i++) {
        const struct counter_row *row = &counter_rows[i];
        see(context, &(struct kl_metric){.name = row->name,
                                         .help = row->help,
                                         .type = KL_METRIC_COUNTER,
                                         .label = row->label,
                                         .label_value = row->label_value,
                                         .value = (double)m->counts[i]});
    }
    const struct kl_metric of_engine[] = {
        {"tokens", tokens_help, KL_METRIC_COUNTER, "kind", "prompt", (double)e->prompt_tokens,
         NULL},
        {"tokens", tokens_help, KL_METRIC_COUNTER, "kind", "cached", (double)e->cache_hit_tokens,
         NULL},
        {"tokens", tokens_help, KL_METRIC_COUNTER, "kind", "warm", (double)e->precomputed_tokens,
         NULL},
        {"tokens", tokens_help, KL_METRIC_COUNTER, "kind", "answer", (double)e->answer_tokens,
         NULL},
        {"tokens", tokens_help, KL_METRIC_COUNTER, "kind", "wasted", (double)e->wasted_tokens,
         NULL},
        {"steps", "passes through the model", KL_METRIC_COUNTER, NULL, NULL, (double)e->steps,
         NULL},
        {"embeddings", "texts that were embedded", KL_METRIC_COUNTER, NULL, NULL,
         (double)e->embeddings, NULL},
        {"repetitions_ended", "answers that were ended because they only repeated themselves",
         KL_METRIC_COUNTER, NULL, NULL, (double)e->requests_ended[KL_FINISH_REPETITION], NULL},
        {"cache_evictions", "pages that were evicted from the prefix cache", KL_METRIC_COUNTER,
         NULL, NULL, (double)e->cache_evictions, NULL},
        {"requests_active", active_help, KL_METRIC_GAUGE, "state", "running",
         (double)(e->running - e->paused), NULL},
        {"requests_active", active_help, KL_METRIC_GAUGE, "state", "paused", (double)e->paused,
         NULL},
        {"requests_active", active_help, KL_METRIC_GAUGE, "state", "queued", (double)e->queued,
         NULL},
        {"kv_cache_tokens", "tokens in the KV cache, of requests and of cached prompts",
         KL_METRIC_GAUGE, NULL, NULL, (double)e->kv_used_tokens, NULL},
        {"kv_cache_max_tokens", "tokens that fit into the KV cache", KL_METRIC_GAUGE, NULL, NULL,
         (double)e->kv_max_tokens, NULL},
        {"cache_bytes", "size of the prefix cache in memory", KL_METRIC_GAUGE, NULL, NULL,
         (double)e->cache_bytes, NULL},
        {"disk_pages", pages_help, KL_METRIC_COUNTER, "kind", "found", (double)e->disk.hits, NULL},
        {"disk_pages", pages_help, KL_METRIC_COUNTER, "kind", "missed", (double)e->disk.misses,
         NULL},
        {"disk_pages", pages_help, KL_METRIC_COUNTER, "kind", "written", (double)e->disk.written,
         NULL},
        {"disk_pages", pages_help, KL_METRIC_COUNTER, "kind", "dropped", (double)e->disk.dropped,
         NULL},
        {"disk_pages", pages_help, KL_METRIC_COUNTER, "kind", "damaged", (double)e->disk.damaged,
         NULL},
        {"disk_pages", pages_help, KL_METRIC_COUNTER, "kind", "evicted", (double)e->disk.evicted,
         NULL},
        {"disk_write_errors", "failed writes of the prefix cache", KL_METRIC_COUNTER, NULL, NULL,
         (double)e->disk.write_errors, NULL},
        {"disk_on", "whether the prefix cache is written to disk", KL_METRIC_GAUGE, NULL, NULL,
         e->disk.on ? 1.0 : 0.0, NULL},
        {"disk_bytes", "size of the prefix cache on disk", KL_METRIC_GAUGE, NULL, NULL,
         (double)e->disk.bytes, NULL},
        {"disk_max_bytes", "limit of the prefix cache on disk; 0: it is not written there",
         KL_METRIC_GAUGE, NULL, NULL, (double)e->disk.max_bytes, NULL},
        {"expected_wait_seconds", "wait for a slot that a request sent now would have, estimated",
         KL_METRIC_GAUGE, NULL, NULL, e->expected_wait[KL_PRIORITY_INTERACTIVE], NULL},
    };
    for (size_t i = 0; i < sizeof of_engine / sizeof of_engine[0]; i++)
        see(context, &of_engine[i]);
    see_drafts(e, see, context);
    see_answers(m, see, context);
    see_history(m, see, context);
    see_models(m, see, context);
    for (size_t i = 0; i < KL_N_DURATIONS; i++)
        see(context, &(struct kl_metric){.name = duration_rows[i].name,
                                         .help = duration_rows[i].help,
                                         .type = KL_METRIC_HISTOGRAM,
                                         .histogram = &m->durations[i]});
}
