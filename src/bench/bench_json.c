#include "base/json_writer.h"
#include "bench/bench.h"
#include "model/model.h"

static void summary(struct kl_json *j, const char *name, const struct kl_bench_summary *s)
{
    kl_json_open(j, name, '{');
    kl_json_number(j, "median", s->median);
    kl_json_number(j, "p10", s->p10);
    kl_json_number(j, "p90", s->p90);
    kl_json_number(j, "n", (double)s->n);
    kl_json_close(j, '}');
}

/* ---- the parts ------------------------------------------------------------------------------- */

static void write_result(struct kl_json *j, const struct kl_bench_result *r)
{
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "test", r->test);
    kl_json_number(j, "n", (double)r->n);
    kl_json_number(j, "tokens_per_second", r->speed.median);
    kl_json_number(j, "p10", r->speed.p10);
    kl_json_number(j, "p90", r->speed.p90);
    kl_json_numbers(j, "samples", r->samples, r->speed.n);
    kl_json_number(j, "gb_per_second", r->gb_per_second);
    kl_json_number(j, "gmac_per_second", r->gmac_per_second);
    if (r->read_limit > 0) {
        kl_json_number(j, "read_limit_gb_per_second", r->read_limit);
        kl_json_number(j, "int8_limit_gmac_per_second", r->int8_limit);
        kl_json_number(j, "read_share", r->read_share);
        kl_json_number(j, "int8_share", r->int8_share);
    }
    if (r->step.n > 0)
        summary(j, "step_seconds", &r->step);
    if (r->per_token.instructions > 0)
        kl_json_number(j, "instructions_per_token", r->per_token.instructions);
    if (r->per_token.cycles > 0)
        kl_json_number(j, "cycles_per_token", r->per_token.cycles);
    kl_json_close(j, '}');
}

static void write_machine(struct kl_json *j, const struct kl_bench *b)
{
    const struct kl_bench_machine *m = &b->machine;
    kl_json_open(j, "machine", '{');
    kl_json_string(j, "cpu", m->cpu);
    kl_json_number(j, "cpus", (double)m->cpus);
    if (m->governor[0] != '\0')
        kl_json_string(j, "governor", m->governor);
    kl_json_number(j, "memory_bytes", (double)m->memory_bytes);
    kl_json_open(j, "limits", '[');
    for (size_t i = 0; i < m->n_points; i++) {
        kl_json_open(j, NULL, '{');
        kl_json_number(j, "threads", (double)m->points[i].threads);
        kl_json_number(j, "read_gb_per_second", m->points[i].read_gb);
        kl_json_number(j, "int8_gmac_per_second", m->points[i].int8_gmac);
        kl_json_close(j, '}');
    }
    kl_json_close(j, ']');
    if (m->no_counters[0] != '\0')
        kl_json_string(j, "no_counters", m->no_counters);
    kl_json_close(j, '}');
}

static void write_start(struct kl_json *j, const struct kl_bench_start *s)
{
    kl_json_open(j, "start_seconds", '{');
    summary(j, "file", &s->file);
    summary(j, "tokenizer", &s->tokenizer);
    summary(j, "weights", &s->weights);
    summary(j, "engine", &s->engine);
    summary(j, "all", &s->all);
    kl_json_close(j, '}');
}

static void write_first_token(struct kl_json *j, const struct kl_bench *b)
{
    kl_json_open(j, "first_token", '{');
    kl_json_number(j, "characters", (double)b->first.characters);
    kl_json_number(j, "prompt_tokens", (double)b->first.prompt_tokens);
    summary(j, "seconds", &b->first.seconds);
    kl_json_numbers(j, "samples", b->first.samples, b->first.seconds.n);
    kl_json_close(j, '}');
    kl_json_open(j, "memory_bytes", '{');
    kl_json_number(j, "resident", (double)b->memory.resident);
    kl_json_number(j, "anonymous", (double)b->memory.anonymous);
    kl_json_number(j, "file", (double)b->memory.file);
    kl_json_number(j, "peak", (double)b->memory.peak);
    kl_json_number(j, "weights", (double)b->memory.weights);
    kl_json_number(j, "buffers", (double)b->memory.forward);
    kl_json_number(j, "kv_cache", (double)b->memory.kv);
    kl_json_close(j, '}');
}

static void write_drafts(struct kl_json *j, const struct kl_bench_drafts *d)
{
    kl_json_open(j, "drafts", '{');
    kl_json_number(j, "answer_tokens", (double)d->answer_tokens);
    kl_json_number(j, "drafted", (double)d->drafted);
    kl_json_number(j, "accepted", (double)d->accepted);
    summary(j, "tokens_per_second_without", &d->without);
    summary(j, "tokens_per_second_with", &d->with);
    kl_json_close(j, '}');
}

static void write_shape(struct kl_json *j, const struct kl_bench_shape *s)
{
    kl_json_open(j, NULL, '{');
    kl_json_number(j, "rows", (double)s->n_rows);
    kl_json_number(j, "sequences", (double)s->n_sequences);
    kl_json_number(j, "depth", (double)s->depth);
    kl_json_number(j, "passes", (double)s->passes);
    kl_json_number(j, "seconds", s->seconds);
    kl_json_open(j, "steps", '{');
    for (enum kl_step i = 0; i < KL_N_STEPS; i++) {
        kl_json_open(j, kl_bench_step_name(i), '{');
        kl_json_number(j, "seconds", s->steps[i].seconds);
        if (s->steps[i].bytes > 0)
            kl_json_number(j, "bytes", s->steps[i].bytes);
        if (s->steps[i].macs > 0)
            kl_json_number(j, "macs", s->steps[i].macs);
        if (s->steps[i].floor > 0)
            kl_json_number(j, "floor_seconds", s->steps[i].floor);
        kl_json_close(j, '}');
    }
    kl_json_close(j, '}');
    kl_json_number(j, "between_seconds", s->between);
    kl_json_number(j, "beside_seconds", s->beside);
    kl_json_number(j, "read_limit_gb_per_second", s->read_limit);
    kl_json_number(j, "int8_limit_gmac_per_second", s->int8_limit);
    kl_json_close(j, '}');
}

void kl_bench_json(const struct kl_bench *b, struct kl_printer *out)
{
    struct kl_json writer = {.out = out}, *j = &writer;
    kl_json_open(j, NULL, '{');
    kl_json_open(j, "results", '[');
    for (size_t i = 0; i < b->n_results; i++)
        write_result(j, &b->results[i]);
    kl_json_close(j, ']');
    if (b->n_shapes > 0) {
        kl_json_open(j, "profile", '[');
        for (size_t i = 0; i < b->n_shapes; i++)
            write_shape(j, &b->shapes[i]);
        kl_json_close(j, ']');
    }
    if (b->start.all.n > 0)
        write_start(j, &b->start);
    if (b->first.seconds.n > 0)
        write_first_token(j, b);
    if (b->drafts.with.n > 0)
        write_drafts(j, &b->drafts);
    write_machine(j, b);
    kl_json_number(j, "bytes_per_token", (double)kl_bench_bytes_per_token(b));
    kl_json_string(j, "model", b->loaded->location.name);
    kl_json_string(j, "file", b->loaded->location.path);
    kl_json_string(j, "kernels", kl_model_kernels(b->loaded->model)->name);
    kl_json_string(j, "cpu_features", b->machine.features);
    kl_json_number(j, "threads", (double)b->loaded->threads.decode);
    kl_json_number(j, "threads_prefill", (double)b->loaded->threads.prefill);
    kl_json_number(j, "repeat", (double)b->options->repeat);
    kl_json_number(j, "depth", (double)b->options->depth);
    kl_json_number(j, "chunk", (double)b->options->chunk);
    kl_json_string(j, "command", b->command);
    kl_json_string(j, "date", b->date);
    kl_json_string(j, "version", KL_VERSION);
    kl_json_close(j, '}');
    kl_print(out, "\n");
}
