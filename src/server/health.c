/* GET /health: for a person, a load balancer, a script. Needs no key and tells no secrets. */
#include "base/clock.h"
#include "base/memory.h"
#include "server/routes.h"
#include "server/server_state.h"

/* A 503, so that who balances load or waits for a 200 waits. */
static void reply_loading(struct kl_exchange *x)
{
    struct kl_server *server = x->server;
    struct kl_startup_state state;
    kl_startup_read(&server->startup, &state);
    json_t *body = json_pack(
        "{s:s, s:s, s:I, s:I, s:s, s:f}", "status", server->stopping ? "stopping" : "loading",
        "stage", kl_loading_stage_name(state.stage), "stage_done", (json_int_t)state.done,
        "stage_total", (json_int_t)state.total, "version", KL_VERSION, "uptime_seconds",
        kl_seconds_since(server->start_ns));
    kl_reply_json(x, 503, body);
}

void kl_handle_health(struct kl_exchange *x)
{
    const struct kl_server *server = x->server;
    if (kl_server_is_loading(server)) {
        reply_loading(x);
        return;
    }
    struct kl_engine_stats s;
    struct kl_memory m;
    kl_engine_stats(server->served.engine, &s);
    kl_memory_read("", &m);
    double total = (double)m.total;
    double used_percent = m.total > 0 ? 100.0 * (total - (double)m.available) / total : 0;

    json_t *body = json_pack(
        "{s:s, s:f, s:f, s:I, s:s, s:s}", "status", server->stopping ? "stopping" : "ok",
        "memory_percent", used_percent, "latency_95", s.latency_p95, "kv_cache_size",
        (json_int_t)s.kv_used_tokens, "model", server->served.model_name, "version", KL_VERSION);
    json_t *more = json_pack(
        "{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I}", "uptime_seconds",
        kl_seconds_since(server->start_ns), "running", (json_int_t)s.running, "queued",
        (json_int_t)s.queued, "parallel", (json_int_t)s.parallel, "queue_size",
        (json_int_t)s.queue_size, "ctx_size", (json_int_t)s.ctx_size, "kv_cache_max",
        (json_int_t)s.kv_max_tokens, "latency_50", s.latency_p50, "prefill_tokens_per_second",
        s.prefill_speed, "decode_tokens_per_second", s.decode_speed, "resident_bytes",
        (json_int_t)kl_memory_resident().all, "memory_total_bytes", (json_int_t)m.total);
    json_t *counts = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "requests_finished", (json_int_t)s.requests_finished,
        "requests_cancelled", (json_int_t)s.requests_cancelled, "requests_failed",
        (json_int_t)s.requests_failed, "requests_refused", (json_int_t)s.requests_refused,
        "prompt_tokens", (json_int_t)s.prompt_tokens, "answer_tokens", (json_int_t)s.answer_tokens);
    const struct kl_connection_counts *c = &server->connection_counts;
    json_t *connections =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "accepted", (json_int_t)c->accepted, "refused",
                  (json_int_t)c->refused, "evicted", (json_int_t)c->evicted, "requests_late",
                  (json_int_t)c->requests_late, "readers_late", (json_int_t)c->readers_late,
                  "accept_failures", (json_int_t)c->accept_failures);
    json_object_set_new(body, "connections", connections);
    json_object_update(body, more);
    json_object_update(body, counts);
    json_decref(more);
    json_decref(counts);
    kl_reply_json(x, server->stopping ? 503 : 200, body);
}
