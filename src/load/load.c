#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cache_dir.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/paths.h"
#include "console/exit_codes.h"
#include "console/terminal.h"
#include "fetch/fetch_hub.h"
#include "format/sections_dir.h"
#include "load/row_costs.h"

/* For the stacks of threads, freed memory that malloc keeps, and sockets: 3 to 5 MB were measured.
 */
#define PLAN_RESERVE ((uint64_t)6 << 20)

static void notify(const struct kl_load_options *o, enum kl_load_stage stage, uint64_t done,
                   uint64_t total)
{
    if (o->observer != NULL)
        o->observer->notify(o->observer->context, stage, done, total);
}

static void notify_download(void *options, uint64_t done, uint64_t total)
{
    notify(options, KL_LOAD_DOWNLOADING, done, total);
}

/* Finds the model or downloads it. Without a name, the substitute is good enough if the default is
 * not here: once any model is here, a start must not need the network. */
static enum kl_status find_model(struct kl_model_location *location,
                                 const struct kl_load_options *o, struct kl_error *err)
{
    bool named = o->model != NULL || kl_model_from_environment() != NULL;
    enum kl_status status = kl_model_locate(o->model, location, err);
    bool of_repository = location->repository.name[0] != '\0';
    if (status != KL_ERR_NOT_FOUND || (location->entry == NULL && !of_repository))
        return status;
    const struct kl_model_entry *entry = location->entry;
    if (!named) {
        struct kl_model_location other;
        if (kl_model_locate(kl_catalogue_substitute()->name, &other, NULL) == KL_OK) {
            kl_warning("the default model %s is not on this computer, using %s ('kinglet pull' "
                       "downloads the default)",
                       entry->name, other.name);
            *location = other;
            return KL_OK;
        }
    }
    if (!o->pull)
        return status;
    const struct kl_progress_observer observer = {notify_download, (void *)(uintptr_t)o, NULL};
    notify(o, KL_LOAD_DOWNLOADING, 0, 0);
    if (of_repository)
        return kl_fetch_repository(&location->repository, KL_DEFAULT_STALL_SECONDS, &observer,
                                   location->path, err) == KL_OK
                   ? kl_model_locate(o->model, location, err)
                   : err->status;
    status = named ? kl_fetch_model(entry, KL_DEFAULT_STALL_SECONDS, &observer, err)
                   : kl_fetch_default(KL_DEFAULT_STALL_SECONDS, &observer, &entry, err);
    return status == KL_OK ? kl_model_locate(entry->name, location, err) : status;
}

/* Chooses the template that --chat-template names, or that of the file. */
static enum kl_status choose_template(struct kl_loaded *l, struct kl_error *err)
{
    if (l->chat_template == NULL)
        l->chat_template = kl_chat_template_for(l->gguf, &l->chat_template_by);
    if (l->chat_template == NULL)
        return kl_fail(err, KL_ERR_MEMORY, "out of memory while reading the chat template");
    return KL_OK;
}

bool kl_load_only_embeds(const struct kl_loaded *l)
{
    return kl_model_config(l->model)->has_pooling && l->chat_template_by != KL_CHAT_BY_OPTION &&
           !kl_gguf_has(l->gguf, "tokenizer.chat_template");
}

static void log_template(const struct kl_loaded *l)
{
    if (kl_load_only_embeds(l))
        kl_info("this model is for embeddings only: its file says how they are pooled, and has no "
                "chat template");
    else if (l->chat_template_by == KL_CHAT_BY_FALLBACK)
        kl_warning("this model file has %s, using %s: answers may be worse than they could be, and "
                   "there is no default system message; if you know the family of the model, give "
                   "--chat-template NAME",
                   kl_gguf_has(l->gguf, "tokenizer.chat_template") ? "an unknown chat template"
                                                                   : "no chat template",
                   kl_chat_template_name(l->chat_template));
    else
        kl_info("chat template %s (by %s)", kl_chat_template_name(l->chat_template),
                kl_chat_by_name(l->chat_template_by));
}

static enum kl_status open_text(struct kl_loaded *l, struct kl_error *err)
{
    uint64_t start = kl_now_ns();
    enum kl_status status = kl_tokenizer_open_kept(
        l->gguf, l->packed_dir[0] != '\0' ? l->packed_dir : NULL, &l->tokenizer, err);
    if (status != KL_OK)
        return status;
    l->times.tokenizer = kl_seconds_since(start);
    kl_info("tokenizer ready (%.2f s): %zu tokens", l->times.tokenizer,
            kl_tokenizer_size(l->tokenizer));
    return KL_OK;
}

/* Shows a bar for each stage; for reading only if the disk is slow. */
struct shown_stages {
    const struct kl_load_options *options;
    struct kl_progress bar;
    bool packed;
    uint64_t reading_since;
};

static bool show_stage(void *context, enum kl_model_stage stage, uint64_t done, uint64_t total)
{
    const double quick = 0.5; /* seconds */
    struct shown_stages *s = context;
    notify(s->options, stage == KL_MODEL_PACKING ? KL_LOAD_PACKING : KL_LOAD_READING, done, total);
    if (stage == KL_MODEL_PACKING) {
        if (!s->packed) {
            kl_progress_end(&s->bar); /* the file that was being read is damaged */
            kl_progress_begin(&s->bar, "Packing the weights");
        }
        s->packed = true;
    } else if (s->reading_since == 0) {
        s->reading_since = kl_now_ns();
        kl_progress_begin(&s->bar, "Reading the weights");
    }
    if (stage == KL_MODEL_PACKING || kl_seconds_since(s->reading_since) > quick)
        kl_progress_update(&s->bar, done, total);
    return s->options->cancelled == NULL || !atomic_load(s->options->cancelled);
}

/* Finds which of two words an option has; NULL counts as the first. */
static enum kl_status read_choice(const char *option, const char *text, const char *const words[2],
                                  unsigned *choice, struct kl_error *err)
{
    *choice = 0;
    if (text == NULL || strcmp(text, words[0]) == 0)
        return KL_OK;
    *choice = 1;
    if (strcmp(text, words[1]) == 0)
        return KL_OK;
    return kl_fail(err, KL_ERR_INVALID, "--%s: expected %s or %s, found '%s'", option, words[0],
                   words[1], text);
}

static enum kl_status read_attention(const struct kl_load_options *o,
                                     struct kl_model_options *options, struct kl_error *err)
{
    static const char *const types[] = {[KL_KV_F16] = "f16", [KL_KV_INT8] = "int8"};
    static const char *const switches[] = {"on", "off"};
    unsigned type = 0, off = 0;
    enum kl_status status = read_choice("kv-type", o->kv_type, types, &type, err);
    if (status == KL_OK)
        status = read_choice("flash-attn", o->flash_attn, switches, &off, err);
    options->kv_type = (enum kl_kv_type)type;
    options->plain_attention = off == 1;
    return status;
}

uint64_t kl_load_budget(const struct kl_load_options *o)
{
    struct kl_plan plan = {0};
    kl_plan_set_budget(&plan, o->memory, "");
    return plan.budget;
}

/* Without a budget, a model that is opened next to others may take the memory that is free. */
static void set_budget(struct kl_plan *plan, const struct kl_load_options *o)
{
    struct kl_memory memory;
    kl_plan_set_budget(plan, o->memory, "");
    if (plan->budget != 0 || o->others == 0)
        return;
    kl_memory_read("", &memory);
    uint64_t room = kl_memory_room(&memory);
    if (room != 0)
        plan->budget = kl_memory_resident().all + room;
}

/* Refuses a model whose weights alone do not fit next to others: packing them takes long. */
static enum kl_status check_room(const struct kl_loaded *l, const struct kl_load_options *o,
                                 struct kl_error *err)
{
    struct kl_plan plan = {0};
    if (o->others == 0)
        return KL_OK;
    set_budget(&plan, o);
    if (plan.budget == 0 || o->others + l->file_bytes <= plan.budget)
        return KL_OK;
    return kl_fail(err, KL_ERR_MEMORY,
                   "its %.1f MB and the %.1f MB of the program and of other models are more than "
                   "the budget of %.1f MB",
                   (double)l->file_bytes / 1e6, (double)o->others / 1e6, (double)plan.budget / 1e6);
}

/* Plans the memory that is in use now, as the system counts it, which is the best figure for
 * libraries and tokenizer. The weights count in full, whether they are resident yet or not. */
static void plan_loaded(struct kl_loaded *l, const struct kl_load_options *o,
                        const struct kl_resident *before)
{
    struct kl_plan *plan = &l->plan;
    struct kl_resident now = kl_memory_resident();
    uint64_t weights = kl_model_weight_bytes(l->model), grown = 0;
    if (now.anonymous > before->anonymous)
        grown = now.anonymous - before->anonymous;
    if (!kl_model_is_mapped(l->model))
        grown -= grown < weights ? grown : weights;
    set_budget(plan, o);
    kl_plan_add(plan, "weights", weights, NULL);
    if (o->others > 0)
        kl_plan_add(plan, "the program and other models", o->others, NULL);
    else
        kl_plan_add(plan, "program, libraries and tokenizer", before->all, NULL);
    kl_plan_add(plan, "norms and biases", grown, NULL);
    if (o->others == 0)
        kl_plan_add(plan, "reserve", PLAN_RESERVE, NULL);
    l->own_bytes = weights + grown;
}

void kl_load_log_plan(const struct kl_plan *plan, bool failed)
{
    struct kl_memory memory;
    kl_memory_read("", &memory);
    uint64_t room = kl_memory_room(&memory);
    bool short_of = room != 0 && kl_plan_total(plan) > room && !failed;
    enum kl_log_level level = failed || short_of ? KL_LOG_WARNING : KL_LOG_INFO;
    struct kl_buffer text;
    kl_buffer_init(&text, 4096);
    if (kl_plan_text(plan, &text) == KL_OK) {
        char *rest = text.data, *line;
        while ((line = strsep(&rest, "\n")) != NULL && line[0] != '\0')
            kl_log(level, "memory: %s", line);
    }
    kl_buffer_release(&text);
    if (short_of)
        kl_warning("memory: only %.1f MB are free for this process; when it needs more, it will be "
                   "slow or be killed by the system: see --memory, --ctx-size and --parallel",
                   (double)room / 1e6);
}

/* Refuses a model whose weights alone do not fit, before they are packed: no other option would
 * help, so the packed file would be of no use. */
static enum kl_status check_budget(const struct kl_loaded *l, const struct kl_load_options *o,
                                   const struct kl_resident *before, struct kl_error *err)
{
    struct kl_plan plan = {0};
    kl_plan_set_budget(&plan, o->memory, "");
    kl_plan_add(&plan, "weights", kl_model_weight_bytes(l->model), NULL);
    kl_plan_add(&plan, "program, libraries and tokenizer", before->all, NULL);
    kl_plan_add(&plan, "reserve", PLAN_RESERVE, NULL);
    enum kl_status status = kl_plan_check(&plan, err);
    if (status != KL_OK)
        kl_load_log_plan(&plan, true);
    return status;
}

/* Releases the pages of the model file that were read (its header, the norms). */
static void forget_file(const struct kl_loaded *l)
{
    const struct kl_mapped_file *file = kl_gguf_file(l->gguf);
    kl_mapped_file_dont_need(file, 0, file->size);
}

static void notify_measuring(void *options, size_t done, size_t total)
{
    notify(options, KL_LOAD_MEASURING, done, total);
}

static enum kl_status choose_threads(struct kl_loaded *l, const struct kl_load_options *o,
                                     const struct kl_cpus *cpus, struct kl_error *err)
{
    const struct kl_threads_options options = {.decode = o->threads,
                                               .prefill = o->threads_prefill,
                                               .measure = o->measure_threads,
                                               .notify = notify_measuring,
                                               .context = (void *)(uintptr_t)o};
    enum kl_status status = kl_threads_choose(l->model, cpus, &options, &l->threads, err);
    l->n_threads = l->threads.decode > l->threads.prefill ? l->threads.decode : l->threads.prefill;
    return status;
}

/* Chooses the tier, and logs the reason. */
static enum kl_status choose_kernels(const struct kl_load_options *o,
                                     const struct kl_kernels **kernels, struct kl_error *err)
{
    const char *variable = getenv("KINGLET_CPU");
    const char *name = o->cpu, *source = "--cpu";
    if (name == NULL && variable != NULL && variable[0] != '\0') {
        name = variable;
        source = "the environment variable KINGLET_CPU";
    }
    if (name == NULL || strcmp(name, "auto") == 0) {
        *kernels = kl_kernels_best(!o->no_avx512);
        source = o->no_avx512 ? "the best with --no-avx512" : "the best";
    } else {
        enum kl_status status = kl_kernels_select(name, kernels, err);
        if (status != KL_OK) {
            kl_error_prefix(err, "%s", source);
            return status;
        }
        if (o->no_avx512 && (*kernels)->avx512)
            return kl_fail(err, KL_ERR_INVALID,
                           "%s asks for %s, which uses AVX-512, and --no-avx512 forbids it: "
                           "give only one of them",
                           source, name);
    }
    kl_info("kernels: %s (%s; this CPU has %s)", (*kernels)->name, source, kl_cpu_features());
    return KL_OK;
}

/* Finds the directory for packed weights and tables. Without one they are made at each start. */
static void find_packed_dir(struct kl_loaded *l, enum kl_load_depth depth)
{
    struct kl_error why = {0};
    enum kl_status status =
        depth == KL_LOAD_MODEL
            ? kl_cache_prepare("packed", l->packed_dir, sizeof l->packed_dir, &why)
            : kl_cache_path("packed", l->packed_dir, sizeof l->packed_dir, &why);
    if (status == KL_OK)
        return;
    l->packed_dir[0] = '\0';
    if (depth == KL_LOAD_MODEL)
        kl_warning("%s; the weights are packed into memory at each start", why.text);
}

/* For a model that was accepted: keeps its tokenizer's tables, and removes files of older versions.
 */
static void keep_for_next_start(struct kl_loaded *l)
{
    if (l->packed_dir[0] == '\0')
        return;
    kl_tokenizer_keep(l->tokenizer, l->gguf, l->packed_dir);
    struct kl_sections_removed old = kl_sections_remove_old(l->packed_dir);
    if (old.files > 0)
        kl_info("removed %zu files (%.1f MB) of an older version of kinglet from %s", old.files,
                (double)old.bytes / 1e6, l->packed_dir);
}

/* Makes the context no longer than what the model was made for. */
static void limit_context(struct kl_loaded *l)
{
    const struct kl_config *config = kl_model_config(l->model);
    if (l->ctx_size <= config->n_ctx_train)
        return;
    kl_warning("this model was made for %zu tokens: the context has that size instead of %zu",
               config->n_ctx_train, l->ctx_size);
    l->ctx_size = config->n_ctx_train;
}

static enum kl_status open_model(struct kl_loaded *l, const struct kl_load_options *o,
                                 enum kl_load_depth depth, struct kl_error *err)
{
    const struct kl_kernels *kernels;
    enum kl_status status = choose_kernels(o, &kernels, err);
    if (status != KL_OK)
        return status;

    uint64_t start = kl_now_ns();
    forget_file(l);
    struct kl_resident before = kl_memory_resident();
    struct kl_cpus cpus;
    kl_cpus_read("", NULL, &cpus);
    struct shown_stages shown = {.options = o};
    struct kl_model_options options = {.kernels = kernels,
                                       .packed_dir =
                                           l->packed_dir[0] != '\0' ? l->packed_dir : NULL,
                                       .n_threads = o->threads != 0 ? o->threads : cpus.threads,
                                       .prepare_later = true};
    status = read_attention(o, &options, err);
    if (status == KL_OK)
        status = kl_model_open(l->gguf, &options, &l->model, err);
    if (status == KL_OK && depth == KL_LOAD_MODEL)
        status = check_budget(l, o, &before, err);
    if (status == KL_OK && depth == KL_LOAD_MODEL) {
        status = kl_model_prepare(l->model, show_stage, &shown, err);
        if (status != KL_OK)
            kl_error_prefix(err, "%s", l->location.path);
    }
    kl_progress_end(&shown.bar);
    if (status != KL_OK)
        return status;
    log_template(l);
    l->times.weights = kl_seconds_since(start);
    l->prepared = shown.packed;
    if (depth == KL_LOAD_MODEL)
        keep_for_next_start(l);

    plan_loaded(l, o, &before);

    char size[32];
    const struct kl_config *config = kl_model_config(l->model);
    limit_context(l);
    kl_info("weights ready (%.2f s, %s): %s, %zu layers, width %zu, %s read for each token",
            l->times.weights,
            depth == KL_LOAD_AHEAD         ? "not read yet"
            : !l->prepared                 ? "mapped"
            : kl_model_is_mapped(l->model) ? "prepared, and kept for the next start"
                                           : "packed into memory",
            config->architecture, config->n_layers, config->n_embd,
            kl_format_bytes((double)kl_model_work(l->model).bytes_per_token, size, sizeof size));
    status = choose_threads(l, o, &cpus, err);
    l->pass_costs = kl_pass_costs_usual;
    return status == KL_OK && o->draft_max > 0
               ? kl_row_costs_choose(l->model, &cpus, l->threads, o->measure_threads,
                                     &l->pass_costs, err)
               : status;
}

static enum kl_status open_shape(struct kl_loaded *l, struct kl_error *err)
{
    const struct kl_model_options options = {.kernels = kl_kernels_best(false),
                                             .prepare_later = true};
    enum kl_status status = choose_template(l, err);
    if (status == KL_OK)
        status = kl_model_open(l->gguf, &options, &l->model, err);
    if (status == KL_OK)
        log_template(l);
    if (status == KL_OK)
        limit_context(l);
    forget_file(l);
    return status;
}

static enum kl_status open_stages(struct kl_loaded *l, const struct kl_load_options *o,
                                  enum kl_load_depth depth, struct kl_error *err)
{
    uint64_t start = kl_now_ns();
    char size[32], files[32] = "";
    notify(o, KL_LOAD_OPENING, 0, 0);
    enum kl_status status = kl_gguf_open(l->location.path, &l->gguf, err);
    if (status != KL_OK)
        return status;
    l->times.file = kl_seconds_since(start);
    l->file_bytes = kl_gguf_file(l->gguf)->identity.size;
    size_t n_files = kl_mapped_file_count(kl_gguf_file(l->gguf));
    if (n_files > 1)
        snprintf(files, sizeof files, " in %zu files", n_files);
    kl_info("model %s (%.2f s): %s, %s%s, %zu tensors", l->location.name, l->times.file,
            l->location.path, kl_format_bytes((double)l->file_bytes, size, sizeof size), files,
            kl_gguf_n_tensors(l->gguf));
    find_packed_dir(l, depth);
    if (depth == KL_LOAD_SHAPE)
        return open_shape(l, err);
    status = check_room(l, o, err);
    if (status == KL_OK)
        status = open_text(l, err);
    if (status == KL_OK && depth != KL_LOAD_TOKENIZER)
        status = choose_template(l, err);
    if (status == KL_OK && depth != KL_LOAD_TOKENIZER)
        status = open_model(l, o, depth, err);
    forget_file(l);
    return status;
}

enum kl_status kl_load(struct kl_loaded *loaded, const struct kl_load_options *options,
                       enum kl_load_depth depth, struct kl_error *err)
{
    *loaded = (struct kl_loaded){.ctx_size = options->ctx_size};
    if (options->chat_template != NULL) {
        loaded->chat_template = kl_chat_template_named(options->chat_template, err);
        loaded->chat_template_by = KL_CHAT_BY_OPTION;
        if (loaded->chat_template == NULL) {
            kl_error_prefix(err, "--chat-template");
            return KL_ERR_INVALID;
        }
    }
    enum kl_status status = find_model(&loaded->location, options, err);
    if (status != KL_OK)
        return status;
    status = open_stages(loaded, options, depth, err);
    if (status != KL_OK)
        kl_unload(loaded);
    if (status == KL_ERR_NOT_FOUND) /* a missing key or tensor: the file is here, but damaged */
        err->status = status = KL_ERR_FORMAT;
    return status;
}

void kl_unload(struct kl_loaded *loaded)
{
    if (loaded->model != NULL)
        kl_model_close(loaded->model);
    if (loaded->tokenizer != NULL)
        kl_tokenizer_close(loaded->tokenizer);
    if (loaded->gguf != NULL)
        kl_gguf_close(loaded->gguf);
    *loaded = (struct kl_loaded){0};
}

int kl_load_report(const char *command, const struct kl_error *err)
{
    int code = kl_report(command, err);
    return err->status == KL_ERR_NOT_FOUND ? KL_EXIT_NO_MODEL : code;
}

struct kl_engine_options kl_load_engine_options(const struct kl_loaded *l,
                                                const struct kl_engine_choice *choice,
                                                struct kl_plan *plan)
{
    return (struct kl_engine_options){.ctx_size = l->ctx_size,
                                      .parallel = choice->parallel,
                                      .queue_size = choice->queue,
                                      .prefill_chunk = KL_PREFILL_CHUNK,
                                      .n_threads = l->threads.decode,
                                      .n_threads_prefill = l->threads.prefill,
                                      .draft_max = choice->draft_max,
                                      .pass_costs = &l->pass_costs,
                                      .cache_bytes = choice->cache_ram,
                                      .rule_bytes = choice->rule_bytes,
                                      .plan = plan};
}
