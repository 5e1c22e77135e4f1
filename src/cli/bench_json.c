#include "cli/bench.h"
#include "model/model.h"

/* A writer that remembers the first failure, so that what follows reads like the result. */
struct json {
    struct kl_buffer *out;
    enum kl_status status;
    bool comma;
};

#define JSON_FORMAT(j, ...)                                                                        \
    do {                                                                                           \
        if ((j)->status == KL_OK)                                                                  \
            (j)->status = kl_buffer_append_format((j)->out, __VA_ARGS__);                          \
    } while (0)

static void write_string(struct json *j, const char *text)
{
    JSON_FORMAT(j, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            JSON_FORMAT(j, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            JSON_FORMAT(j, "\\u%04x", (unsigned char)*text);
        else
            JSON_FORMAT(j, "%c", *text);
    }
    JSON_FORMAT(j, "\"");
}

static void key(struct json *j, const char *name)
{
    JSON_FORMAT(j, "%s\"%s\":", j->comma ? "," : "", name);
    j->comma = true;
}

static void number(struct json *j, const char *name, double value)
{
    key(j, name);
    /* counts of bytes in full, measurements as far as they mean something */
    JSON_FORMAT(j, value >= 1e6 && value < 9e15 ? "%.0f" : "%.9g", value);
}

static void string(struct json *j, const char *name, const char *value)
{
    key(j, name);
    write_string(j, value);
}

static void open_thing(struct json *j, const char *name, char bracket)
{
    if (name != NULL)
        key(j, name);
    else if (j->comma)
        JSON_FORMAT(j, ",");
    JSON_FORMAT(j, "%c", bracket);
    j->comma = false;
}

static void close_thing(struct json *j, char bracket)
{
    JSON_FORMAT(j, "%c", bracket);
    j->comma = true;
}

static void numbers(struct json *j, const char *name, const double *values, size_t n)
{
    open_thing(j, name, '[');
    for (size_t i = 0; i < n; i++)
        JSON_FORMAT(j, "%s%.9g", i > 0 ? "," : "", values[i]);
    close_thing(j, ']');
}

static void summary(struct json *j, const char *name, const struct kl_bench_summary *s)
{
    open_thing(j, name, '{');
    number(j, "median", s->median);
    number(j, "p10", s->p10);
    number(j, "p90", s->p90);
    number(j, "n", (double)s->n);
    close_thing(j, '}');
}

/* ---- the parts ------------------------------------------------------------------------------- */

static void write_result(struct json *j, const struct kl_bench_result *r)
{
    open_thing(j, NULL, '{');
    string(j, "test", r->test);
    number(j, "n", (double)r->n);
    number(j, "tokens_per_second", r->speed.median);
    number(j, "p10", r->speed.p10);
    number(j, "p90", r->speed.p90);
    numbers(j, "samples", r->samples, r->speed.n);
    number(j, "gb_per_second", r->gb_per_second);
    number(j, "gmac_per_second", r->gmac_per_second);
    if (r->read_limit > 0) {
        number(j, "read_limit_gb_per_second", r->read_limit);
        number(j, "int8_limit_gmac_per_second", r->int8_limit);
        number(j, "read_share", r->read_share);
        number(j, "int8_share", r->int8_share);
    }
    if (r->step.n > 0)
        summary(j, "step_seconds", &r->step);
    if (r->per_token.instructions > 0)
        number(j, "instructions_per_token", r->per_token.instructions);
    if (r->per_token.cycles > 0)
        number(j, "cycles_per_token", r->per_token.cycles);
    close_thing(j, '}');
}

static void write_machine(struct json *j, const struct kl_bench *b)
{
    const struct kl_bench_machine *m = &b->machine;
    open_thing(j, "machine", '{');
    string(j, "cpu", m->cpu);
    number(j, "cpus", (double)m->cpus);
    if (m->governor[0] != '\0')
        string(j, "governor", m->governor);
    number(j, "memory_bytes", (double)m->memory_bytes);
    open_thing(j, "limits", '[');
    for (size_t i = 0; i < m->n_points; i++) {
        open_thing(j, NULL, '{');
        number(j, "threads", (double)m->points[i].threads);
        number(j, "read_gb_per_second", m->points[i].read_gb);
        number(j, "int8_gmac_per_second", m->points[i].int8_gmac);
        close_thing(j, '}');
    }
    close_thing(j, ']');
    if (m->no_counters[0] != '\0')
        string(j, "no_counters", m->no_counters);
    close_thing(j, '}');
}

static void write_start(struct json *j, const struct kl_bench_start *s)
{
    open_thing(j, "start_seconds", '{');
    summary(j, "file", &s->file);
    summary(j, "tokenizer", &s->tokenizer);
    summary(j, "weights", &s->weights);
    summary(j, "engine", &s->engine);
    summary(j, "all", &s->all);
    close_thing(j, '}');
}

static void write_first_token(struct json *j, const struct kl_bench *b)
{
    open_thing(j, "first_token", '{');
    number(j, "characters", (double)b->first.characters);
    number(j, "prompt_tokens", (double)b->first.prompt_tokens);
    summary(j, "seconds", &b->first.seconds);
    numbers(j, "samples", b->first.samples, b->first.seconds.n);
    close_thing(j, '}');
    open_thing(j, "memory_bytes", '{');
    number(j, "resident", (double)b->memory.resident);
    number(j, "anonymous", (double)b->memory.anonymous);
    number(j, "file", (double)b->memory.file);
    number(j, "peak", (double)b->memory.peak);
    number(j, "weights", (double)b->memory.weights);
    number(j, "buffers", (double)b->memory.forward);
    number(j, "kv_cache", (double)b->memory.kv);
    close_thing(j, '}');
}

enum kl_status kl_bench_json(const struct kl_bench *b, struct kl_buffer *out)
{
    struct json writer = {.out = out}, *j = &writer;
    open_thing(j, NULL, '{');
    open_thing(j, "results", '[');
    for (size_t i = 0; i < b->n_results; i++)
        write_result(j, &b->results[i]);
    close_thing(j, ']');
    if (b->start.all.n > 0)
        write_start(j, &b->start);
    if (b->first.seconds.n > 0)
        write_first_token(j, b);
    write_machine(j, b);
    number(j, "bytes_per_token", (double)kl_bench_bytes_per_token(b));
    string(j, "model", b->loaded->location.name);
    string(j, "file", b->loaded->location.path);
    string(j, "kernels", kl_model_kernels(b->loaded->model)->name);
    string(j, "cpu_features", b->machine.features);
    number(j, "threads", (double)b->loaded->threads.decode);
    number(j, "threads_prefill", (double)b->loaded->threads.prefill);
    number(j, "repeat", (double)b->options->repeat);
    number(j, "depth", (double)b->options->depth);
    number(j, "chunk", (double)b->options->chunk);
    string(j, "command", b->command);
    string(j, "date", b->date);
    string(j, "version", KL_VERSION);
    close_thing(j, '}');
    JSON_FORMAT(j, "\n");
    return j->status;
}
