/* GET /health: for a person, a load balancer, a script. Needs no key and tells no secrets. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/routes.h"
#include "server/server_state.h"

struct memory {
    double total, available, resident; /* bytes; 0: not known */
};

static struct memory read_memory(void)
{
    struct memory m = {0};
    char line[128];
    unsigned long long value;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "MemTotal: %llu kB", &value) == 1)
            m.total = (double)value * 1024;
        else if (sscanf(line, "MemAvailable: %llu kB", &value) == 1)
            m.available = (double)value * 1024;
    }
    if (f != NULL)
        fclose(f);

    f = fopen("/proc/self/statm", "re");
    if (f != NULL && fscanf(f, "%*u %llu", &value) == 1)
        m.resident = (double)value * (double)sysconf(_SC_PAGESIZE);
    if (f != NULL)
        fclose(f);
    return m;
}

void kl_handle_health(struct kl_exchange *x)
{
    const struct kl_server *server = x->server;
    struct kl_engine_stats s;
    kl_engine_stats(server->options.engine, &s);
    struct memory m = read_memory();
    double used_percent = m.total > 0 ? 100.0 * (m.total - m.available) / m.total : 0;

    json_t *body = json_pack(
        "{s:s, s:f, s:f, s:I, s:s, s:s}", "status", server->stopping ? "stopping" : "ok",
        "memory_percent", used_percent, "latency_95", s.latency_p95, "kv_cache_size",
        (json_int_t)s.kv_used_tokens, "model", server->options.model_name, "version", KL_VERSION);
    json_t *more = json_pack(
        "{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I}", "uptime_seconds",
        kl_seconds_since(server->start_ns), "running", (json_int_t)s.running, "queued",
        (json_int_t)s.queued, "parallel", (json_int_t)s.parallel, "queue_size",
        (json_int_t)s.queue_size, "ctx_size", (json_int_t)s.ctx_size, "kv_cache_max",
        (json_int_t)s.kv_max_tokens, "latency_50", s.latency_p50, "prefill_tokens_per_second",
        s.prefill_speed, "decode_tokens_per_second", s.decode_speed, "resident_bytes",
        (json_int_t)m.resident, "memory_total_bytes", (json_int_t)m.total);
    json_t *counts = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "requests_finished", (json_int_t)s.requests_finished,
        "requests_cancelled", (json_int_t)s.requests_cancelled, "requests_failed",
        (json_int_t)s.requests_failed, "requests_refused", (json_int_t)s.requests_refused,
        "prompt_tokens", (json_int_t)s.prompt_tokens, "answer_tokens", (json_int_t)s.answer_tokens);
    json_object_update(body, more);
    json_object_update(body, counts);
    json_decref(more);
    json_decref(counts);
    kl_reply_json(x, server->stopping ? 503 : 200, body);
}
