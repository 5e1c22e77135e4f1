#include "load/model_set.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/model_name.h"
#include "base/split_name.h"
#include "load/file_facts.h"
#include "load/prefixes.h"

/* ---- finding --------------------------------------------------------------------------------- */

static enum kl_status add_word(struct kl_model_set *m, const char *word, bool of_dir,
                               struct kl_error *err)
{
    struct kl_set_model *model = &m->models[m->n];
    if (m->n == KL_MODEL_SET_MAX)
        return kl_fail(err, KL_ERR_LIMIT, "a server has at most %d models", KL_MODEL_SET_MAX);
    *model = (struct kl_set_model){.of_dir = of_dir};
    m->n++;
    if (word == NULL)
        return KL_OK;
    model->word = strdup(word);
    return model->word != NULL ? KL_OK : kl_fail_memory(err, "the table of models", 0);
}

/* Whether a directory's file may be a model of its own: not a projector of images, and of a split
 * model the first part. */
static int is_model_file(const struct dirent *entry)
{
    struct kl_split_name split;
    const char *name = entry->d_name;
    size_t len = strlen(name), suffix = strlen(".gguf");
    if (len <= suffix || strcmp(name + len - suffix, ".gguf") != 0 || name[0] == '.' ||
        strstr(name, "mmproj") != NULL)
        return 0;
    return !kl_split_name_read(name, &split) || split.number == 1;
}

static enum kl_status add_dir(struct kl_model_set *m, const char *dir, struct kl_error *err)
{
    struct dirent **files;
    int n = scandir(dir, &files, is_model_file, alphasort);
    if (n < 0)
        return kl_fail_errno(err, "--models: cannot read the directory %s", dir);
    enum kl_status status = KL_OK;
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        int used = snprintf(path, sizeof path, "%s/%s", dir, files[i]->d_name);
        if (status == KL_OK && used >= (int)sizeof path)
            status = kl_fail(err, KL_ERR_LIMIT, "--models: a path in %.100s is too long", dir);
        if (status == KL_OK)
            status = add_word(m, path, true, err);
        free(files[i]);
    }
    free(files);
    if (status == KL_OK && m->n == 0)
        status = kl_fail(err, KL_ERR_NOT_FOUND, "--models: there is no GGUF file in %s", dir);
    return status;
}

static void remove_model(struct kl_model_set *m, size_t i)
{
    free(m->models[i].word);
    memmove(&m->models[i], &m->models[i + 1], (m->n - i - 1) * sizeof *m->models);
    m->n--;
}

static bool is_same_file(const struct kl_model_location *a, const struct kl_model_location *b)
{
    struct stat of_a, of_b;
    return stat(a->path, &of_a) == 0 && stat(b->path, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* Refuses equal names; may remove files of the directory that are named by --model, too. */
static enum kl_status check_names(struct kl_model_set *m, bool may_remove, struct kl_error *err)
{
    for (size_t i = 1; i < m->n; i++) {
        const struct kl_set_model *model = &m->models[i];
        for (size_t j = 0; j < i; j++) {
            const struct kl_set_model *other = &m->models[j];
            if (!kl_model_names_equal(model->location.name, other->location.name))
                continue;
            if (may_remove && model->of_dir && !other->of_dir &&
                is_same_file(&model->location, &other->location)) {
                remove_model(m, i--);
                break;
            }
            return kl_fail(err, KL_ERR_INVALID,
                           "two models have the name %s: %s and %s; give each file a name of its "
                           "own",
                           model->location.name, other->location.path, model->location.path);
        }
    }
    return KL_OK;
}

/* ---- chat templates -------------------------------------------------------------------------- */

static struct kl_set_model *find_by_name(struct kl_model_set *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct kl_model_location *where = &m->models[i].location;
        if (kl_model_names_equal(name, where->name) || kl_model_names_equal(name, where->file))
            return &m->models[i];
    }
    return NULL;
}

/* Reads a value of --chat-template: NAME, or NAME=MODEL. */
static enum kl_status choose_template(struct kl_model_set *m, const char *word,
                                      struct kl_error *err)
{
    char name[64];
    size_t len = strcspn(word, "=");
    struct kl_set_model *model = m->n == 1 ? &m->models[0] : NULL;
    snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), word);
    const struct kl_chat_template *found = kl_chat_template_named(name, err);
    if (found == NULL) {
        kl_error_prefix(err, "--chat-template");
        return KL_ERR_INVALID;
    }
    if (word[len] == '=')
        model = find_by_name(m, word + len + 1);
    else if (model == NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "--chat-template %s: there are %zu models; say which one it is for, as in "
                       "%s=%.100s",
                       name, m->n, name, m->models[0].location.name);
    if (model == NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "--chat-template %.160s: no model that is served has this name; the first "
                       "is %.100s",
                       word, m->models[0].location.name);
    if (model->chat_template != NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "--chat-template: two are given for the model %.100s (%s and %s)",
                       model->location.name, model->chat_template, name);
    model->chat_template = kl_chat_template_name(found);
    return KL_OK;
}

static enum kl_status choose_templates(struct kl_model_set *m, struct kl_error *err)
{
    const struct kl_string_list *words = &m->options.chat_templates;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < words->len && status == KL_OK; i++)
        status = choose_template(m, words->values[i], err);
    return status;
}

enum kl_status kl_model_set_find(struct kl_model_set *m, const struct kl_model_set_options *options,
                                 const struct kl_string_list *words, const char *dir,
                                 struct kl_error *err)
{
    *m = (struct kl_model_set){.options = *options};
    m->models = calloc(KL_MODEL_SET_MAX, sizeof *m->models);
    if (m->models == NULL)
        return kl_fail_memory(err, "the table of models", KL_MODEL_SET_MAX * sizeof *m->models);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < words->len && status == KL_OK; i++)
        status = add_word(m, words->values[i], false, err);
    if (status == KL_OK && dir != NULL)
        status = add_dir(m, dir, err);
    else if (status == KL_OK && m->n == 0)
        status = add_word(m, NULL, false, err);
    for (size_t i = 0; i < m->n && status == KL_OK; i++) {
        struct kl_error missing;
        status = kl_model_locate(m->models[i].word, &m->models[i].location, &missing);
        if (i == 0) /* kl_load decides, and may download it */
            status = KL_OK;
        else if (status != KL_OK)
            *err = missing;
    }
    if (status == KL_OK)
        status = check_names(m, true, err);
    return status == KL_OK ? choose_templates(m, err) : status;
}

/* ---- opening --------------------------------------------------------------------------------- */

enum kl_status kl_model_set_load_first(struct kl_model_set *m, struct kl_error *err)
{
    struct kl_set_model *first = &m->models[0];
    struct kl_load_options options = m->options.load;
    options.model = first->word;
    options.chat_template = first->chat_template;
    enum kl_status status = kl_load(&first->loaded, &options, KL_LOAD_MODEL, err);
    if (status != KL_OK)
        return status;
    first->location = first->loaded.location;
    kl_file_facts_read(&first->loaded, &first->facts);
    first->known = first->loaded.chat_template;
    m->threads = first->loaded.threads;
    return KL_OK;
}

/* Whether a file is the one of the last loading, which failed and would fail again. */
static bool fails_again(const struct kl_set_model *model, const struct stat *file)
{
    const struct stat *then = &model->failed_file;
    return model->failed_ns != 0 &&
           kl_seconds_since(model->failed_ns) < KL_MODEL_SET_RETRY_SECONDS &&
           file->st_dev == then->st_dev && file->st_ino == then->st_ino &&
           file->st_size == then->st_size && file->st_mtim.tv_sec == then->st_mtim.tv_sec &&
           file->st_mtim.tv_nsec == then->st_mtim.tv_nsec;
}

/* Compares the model that is loaded with what clients were told of it. Another quantisation of the
 * same shape is another model, too; one of the same size and types is not. */
static enum kl_status check_unchanged(const struct kl_set_model *model, struct kl_error *err)
{
    struct kl_model_facts now;
    const struct kl_model_facts *then = &model->facts;
    kl_file_facts_read(&model->loaded, &now);
    if (strcmp(now.architecture, then->architecture) == 0 &&
        strcmp(now.quantization, then->quantization) == 0 && now.n_layers == then->n_layers &&
        now.n_embd == then->n_embd && now.n_ff == then->n_ff && now.n_heads == then->n_heads &&
        now.n_kv_heads == then->n_kv_heads && now.n_vocab == then->n_vocab &&
        now.n_ctx_train == then->n_ctx_train && now.n_parameters == then->n_parameters &&
        now.only_embeds == then->only_embeds && model->loaded.chat_template == model->known)
        return KL_OK;
    return kl_fail(err, KL_ERR_UNSUPPORTED,
                   "its file was replaced by one of another model; restart the server to serve "
                   "that one");
}

enum kl_status kl_model_set_load(struct kl_model_set *m, size_t i, uint64_t others,
                                 const _Atomic(bool) *cancelled, struct kl_error *err)
{
    struct kl_set_model *model = &m->models[i];
    struct kl_load_options options = m->options.load;
    struct stat file;
    bool is_here = stat(model->location.path, &file) == 0;
    if (is_here && fails_again(model, &file)) {
        *err = model->failed;
        return err->status;
    }
    options.model = model->word;
    options.chat_template = model->chat_template;
    options.threads = m->threads.decode;
    options.threads_prefill = m->threads.prefill;
    options.measure_threads = false;
    options.pull = false;
    options.others = m->program_bytes + others;
    options.cancelled = cancelled;
    enum kl_status status = kl_load(&model->loaded, &options, KL_LOAD_MODEL, err);
    if (status == KL_OK && check_unchanged(model, err) != KL_OK) {
        kl_unload(&model->loaded);
        status = err->status;
    }
    bool may_come = status == KL_ERR_MEMORY || status == KL_ERR_CANCELLED;
    model->failed_ns = status != KL_OK && is_here && !may_come ? kl_now_ns() : 0;
    if (model->failed_ns != 0) {
        model->failed_file = file;
        model->failed = *err;
    }
    return status;
}

enum kl_status kl_model_set_open_engine(struct kl_model_set *m, size_t i, struct kl_error *err)
{
    const struct kl_model_set_options *o = &m->options;
    struct kl_set_model *model = &m->models[i];
    struct kl_loaded *l = &model->loaded;
    enum kl_status status =
        m->thread == NULL ? kl_engine_thread_open(l->n_threads, &m->thread, err) : KL_OK;
    if (status != KL_OK)
        return status;
    if (o->engine.cache_ram > 0) /* pages from disk go into the cache in memory */
        model->page_store = kl_open_page_store(l, o->cache_disk, &m->disk_written);
    struct kl_engine_options options = kl_load_engine_options(l, &o->engine, &l->plan);
    options.thread = m->thread;
    options.page_store = model->page_store;
    status = kl_engine_open(l->model, l->tokenizer, &options, &model->engine, err);
    kl_load_log_plan(&l->plan, status != KL_OK);
    if (status == KL_OK)
        kl_info("engine: %zu slots, %zu requests may wait, %zu tokens each; room for %zu tokens in "
                "all",
                o->engine.parallel, o->engine.queue, l->ctx_size, l->plan.kv_tokens);
    return status;
}

void kl_model_set_close(struct kl_model_set *m, size_t i)
{
    struct kl_set_model *model = &m->models[i];
    kl_engine_close(model->engine);
    kl_page_store_close(model->page_store);
    kl_unload(&model->loaded);
    model->engine = NULL;
    model->page_store = NULL;
}

void kl_model_set_release(struct kl_model_set *m)
{
    for (size_t i = 0; i < m->n; i++) {
        kl_model_set_close(m, i);
        free(m->models[i].word);
    }
    kl_engine_thread_close(m->thread);
    free(m->models);
}

/* ---- facts ----------------------------------------------------------------------------------- */

/* Reads the facts of a model that is not opened yet. */
static enum kl_status look_at(struct kl_model_set *m, struct kl_set_model *model,
                              struct kl_error *err)
{
    struct kl_load_options options = m->options.load;
    options.model = model->word;
    options.chat_template = model->chat_template;
    options.pull = false;
    enum kl_status status = kl_load(&model->loaded, &options, KL_LOAD_SHAPE, err);
    if (status == KL_OK)
        kl_file_facts_read(&model->loaded, &model->facts);
    model->known = model->loaded.chat_template;
    return status;
}

enum kl_status kl_model_set_look(struct kl_model_set *m, const struct kl_aliases *aliases,
                                 kl_model_set_fn *see, void *context, struct kl_error *err)
{
    const struct kl_model_location *locations[KL_MODEL_SET_MAX];
    for (size_t i = 1; i < m->n; i++) {
        struct kl_set_model *model = &m->models[i];
        enum kl_status status = look_at(m, model, err);
        if (status == KL_OK) {
            see(context, i, model);
            kl_unload(&model->loaded);
        } else if (model->of_dir) {
            kl_warning("--models: %s is left out: %s", model->location.file, err->text);
            remove_model(m, i--);
        } else {
            return status;
        }
    }
    enum kl_status status = check_names(m, false, err);
    for (size_t i = 0; i < m->n; i++)
        locations[i] = &m->models[i].location;
    for (size_t i = 0; i < m->n && status == KL_OK; i++)
        status = kl_aliases_of(aliases, locations, m->n, i, &m->models[i].names, err);
    return status;
}

void kl_model_set_digests(struct kl_model_set *m, const _Atomic(bool) *stop)
{
    for (size_t i = 0; i < m->n && !atomic_load(stop); i++)
        kl_file_facts_digest(&m->models[i].location, &m->models[i].facts, stop);
}
