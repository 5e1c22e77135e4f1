/* GET /health: for users, load balancers, scripts. If keys are set, a request without one gets only
 * the status: the figures would reveal when and how much others use the server. */
#include "api/reply_json.h"
#include "base/clock.h"
#include "base/memory.h"
#include "http/judge.h"
#include "service/service.h"

/* Replies with a 503, so that load balancers and scripts that need a 200 wait. */
static void reply_loading(struct kl_exchange *x, bool with_figures)
{
    struct kl_service *s = kl_service_of(x);
    struct kl_startup_state state;
    kl_startup_read(&s->startup, &state);
    json_t *body = json_pack("{s:s, s:s, s:I, s:I, s:s}", "status",
                             kl_http_is_draining(s->http) ? "stopping" : "loading", "stage",
                             state.stage, "stage_done", (json_int_t)state.done, "stage_total",
                             (json_int_t)state.total, "version", KL_VERSION);
    if (with_figures) {
        json_object_set_new(body, "uptime_seconds", json_real(kl_seconds_since(s->start_ns)));
        json_object_set_new(body, "history", json_boolean(s->history != NULL));
    }
    kl_reply_json(x, 503, body);
}

/* Adds a metric: "requests": {"answered": 3, ...}, "queue_seconds": {"count", "sum", "p50", ...},
 * "steps": 7. */
static void add_metric(void *context, const struct kl_metric *m)
{
    json_t *all = context;
    if (m->type == KL_METRIC_HISTOGRAM) {
        const struct kl_histogram *h = m->histogram;
        json_object_set_new(all, m->name,
                            json_pack("{s:I, s:f, s:f, s:f, s:f}", "count", (json_int_t)h->count,
                                      "sum", h->sum, "p50", kl_histogram_quantile(h, 0.5), "p95",
                                      kl_histogram_quantile(h, 0.95), "p99",
                                      kl_histogram_quantile(h, 0.99)));
        return;
    }
    json_t *value =
        m->type == KL_METRIC_COUNTER ? json_integer((json_int_t)m->value) : json_real(m->value);
    if (m->label == NULL) {
        json_object_set_new(all, m->name, value);
        return;
    }
    if (json_object_get(all, m->name) == NULL)
        json_object_set_new(all, m->name, json_object());
    json_object_set_new(json_object_get(all, m->name), m->label_value, value);
}

static void reply_figures(struct kl_exchange *x)
{
    const struct kl_service *s = kl_service_of(x);
    struct kl_engine_stats e;
    struct kl_memory m;
    kl_hosted_stats(&s->host.models[0], &e);
    kl_memory_read("", &m);
    const uint64_t *counts_of = s->metrics.counts;
    uint64_t refused = counts_of[KL_COUNT_REFUSED_FULL] + counts_of[KL_COUNT_REFUSED_WAIT] +
                       counts_of[KL_COUNT_REFUSED_DEADLINE];
    double total = (double)m.total;
    double used_percent = m.total > 0 ? 100.0 * (total - (double)m.available) / total : 0;

    json_t *body =
        json_pack("{s:s, s:f, s:f, s:I, s:s, s:s}", "status",
                  kl_http_is_draining(s->http) ? "stopping" : "ok", "memory_percent", used_percent,
                  "latency_95", e.latency_p95, "kv_cache_size", (json_int_t)e.kv_used_tokens,
                  "model", kl_service_default(s)->model_name, "version", KL_VERSION);
    json_t *more = json_pack(
        "{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I}", "uptime_seconds",
        kl_seconds_since(s->start_ns), "running", (json_int_t)e.running, "queued",
        (json_int_t)e.queued, "parallel", (json_int_t)e.parallel, "queue_size",
        (json_int_t)e.queue_size, "ctx_size", (json_int_t)e.ctx_size, "kv_cache_max",
        (json_int_t)e.kv_max_tokens, "latency_50", e.latency_p50, "prefill_tokens_per_second",
        e.prefill_speed, "decode_tokens_per_second", e.decode_speed, "resident_bytes",
        (json_int_t)kl_memory_resident().all, "memory_total_bytes", (json_int_t)m.total);
    json_t *counts = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "requests_finished", (json_int_t)kl_engine_complete(&e),
        "requests_cancelled", (json_int_t)e.requests_ended[KL_FINISH_CANCELLED], "requests_failed",
        (json_int_t)e.requests_ended[KL_FINISH_ERROR], "requests_refused", (json_int_t)refused,
        "prompt_tokens", (json_int_t)e.prompt_tokens, "answer_tokens", (json_int_t)e.answer_tokens);
    json_t *metrics = json_object();
    kl_metrics_walk(&s->metrics, &e, add_metric, metrics);
    json_object_set_new(body, "statistics", metrics);
    const struct kl_connection_counts *c = kl_http_counts(s->http);
    json_t *connections =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "accepted", (json_int_t)c->accepted,
                  "refused", (json_int_t)c->refused, "evicted", (json_int_t)c->evicted, "held_most",
                  (json_int_t)c->held_most, "held_bytes", (json_int_t)kl_http_held(s->http),
                  "requests_late", (json_int_t)c->requests_late, "readers_late",
                  (json_int_t)c->readers_late, "accept_failures", (json_int_t)c->accept_failures);
    json_object_set_new(body, "connections", connections);
    json_object_set_new(body, "history", json_boolean(s->history != NULL)); /* for the page */
    json_object_set_new(body, "chat_template",
                        json_pack("{s:s, s:s}", "name",
                                  kl_chat_template_name(kl_service_default(s)->chat_template), "by",
                                  kl_chat_by_name(kl_service_default(s)->chat_template_by)));
    json_object_update(body, more);
    json_object_update(body, counts);
    json_decref(more);
    json_decref(counts);
    kl_reply_json(x, kl_http_is_draining(s->http) ? 503 : 200, body);
}

KL_HANDLER(kl_handle_health)
{
    const struct kl_service *s = kl_service_of(x);
    bool with_figures = kl_request_has_key(x);
    if (kl_service_is_loading(s))
        reply_loading(x, with_figures);
    else if (with_figures)
        reply_figures(x);
    else
        kl_reply_json(x, kl_http_is_draining(s->http) ? 503 : 200,
                      json_pack("{s:s, s:s}", "status",
                                kl_http_is_draining(s->http) ? "stopping" : "ok", "version",
                                KL_VERSION));
}
