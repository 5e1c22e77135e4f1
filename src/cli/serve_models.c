#include "cli/serve_models.h"

#include <sys/stat.h>

_Static_assert(KL_MODEL_SET_MAX <= KL_MAX_MODELS, "room for each");

static void notify_server(void *context, enum kl_load_stage stage, uint64_t done, uint64_t total)
{
    const struct kl_serve_models *m = context;
    kl_server_loading(m->server, kl_load_stage_name(stage), done, total);
}

static void describe(void *context, size_t i, const struct kl_set_model *model)
{
    struct kl_serve_models *m = context;
    struct stat st;
    const struct kl_model_location *where = &model->location;
    const struct kl_loaded *l = &model->loaded;
    m->served[i] = (struct kl_served){
        .chat_template = l->chat_template,
        .chat_template_by = l->chat_template_by,
        .model_name = where->name,
        .model_file = where->file,
        .model_created = stat(where->path, &st) == 0 ? st.st_mtim.tv_sec : 0,
        .model_bytes = l->file_bytes,
        .facts = &model->facts,
        .ctx_size = l->ctx_size,
    };
}

static void close_model(void *context, size_t i)
{
    struct kl_serve_models *m = context;
    kl_engine_close(m->set.models[i].engine); /* before what its requests use */
    m->set.models[i].engine = NULL;
    kl_rule_cache_close(m->rules[i]);
    m->rules[i] = NULL;
    kl_model_set_close(&m->set, i);
}

/* Opens the cache of rules and the engine of a model that is loaded. others: what else is in its
 * plan. */
static enum kl_status open_engine(struct kl_serve_models *m, size_t i, uint64_t others,
                                  struct kl_served *served, struct kl_error *err)
{
    const struct kl_set_model *model = &m->set.models[i];
    struct kl_plan *plan = &m->set.models[i].loaded.plan;
    kl_plan_add(plan, "rules of answers, and the trie of tokens",
                kl_rule_cache_most_bytes(model->loaded.tokenizer, m->rule_bytes), NULL);
    enum kl_status status =
        kl_rule_cache_open(model->loaded.tokenizer, m->rule_bytes, &m->rules[i], err);
    if (status == KL_OK)
        status = kl_model_set_open_engine(&m->set, i, err);
    if (status != KL_OK)
        return status;
    served->engine = model->engine;
    served->tokenizer = model->loaded.tokenizer;
    served->rules = m->rules[i];
    served->planned_bytes = kl_plan_total(plan) - others;
    if (m->set.options.engine.cache_ram > 0)
        kl_precompute(model->engine, &model->loaded, m->warm_texts);
    return KL_OK;
}

static enum kl_status open_model(void *context, size_t i, uint64_t others,
                                 const _Atomic(bool) *cancelled, struct kl_served *served,
                                 struct kl_error *err)
{
    struct kl_serve_models *m = context;
    enum kl_status status = kl_model_set_load(&m->set, i, others, cancelled, err);
    if (status == KL_OK)
        status = open_engine(m, i, m->set.program_bytes + others, served, err);
    if (status != KL_OK)
        close_model(m, i);
    return status;
}

struct kl_model_opener kl_serve_models_opener(struct kl_serve_models *m)
{
    return (struct kl_model_opener){open_model, close_model, m};
}

enum kl_status kl_serve_models_load(struct kl_serve_models *m, struct kl_server *server,
                                    struct kl_error *err)
{
    struct kl_set_model *first = &m->set.models[0];
    m->server = server;
    m->observer = (struct kl_load_observer){notify_server, m};
    m->set.options.load.observer = &m->observer;
    enum kl_status status = kl_model_set_load_first(&m->set, err);
    if (status != KL_OK)
        return status;
    describe(m, 0, first);
    m->plan_program(m->plan_context, &first->loaded.plan);
    m->set.program_bytes = kl_plan_total(&first->loaded.plan) - first->loaded.own_bytes;
    status = open_engine(m, 0, m->set.program_bytes, &m->served[0], err);
    if (status == KL_OK)
        status = kl_model_set_look(&m->set, m->aliases, describe, m, err);
    for (size_t i = 0; i < m->set.n && status == KL_OK; i++) {
        m->served[i].aliases = m->set.models[i].names.values;
        m->served[i].n_aliases = m->set.models[i].names.len;
    }
    return status;
}

void kl_serve_models_release(struct kl_serve_models *m)
{
    for (size_t i = 0; i < m->set.n; i++)
        close_model(m, i);
    kl_model_set_release(&m->set);
}
