/* GET /v1/models and /v1/models/NAME. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/answer_json.h"
#include "api/ollama_models.h"
#include "api/reply_json.h"
#include "service/service.h"

/* A value of a file is a float: as a double it would show digits that are none. */
static json_t *short_real(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    return json_real(strtod(text, NULL));
}

static json_t *advice_json(const struct kl_sampling_advice *advice)
{
    return json_pack("{s:o, s:o, s:I, s:o}", "temperature", short_real(advice->temperature),
                     "top_p", short_real(advice->top_p), "top_k", (json_int_t)advice->top_k,
                     "repetition_penalty", short_real(advice->repetition_penalty));
}

static json_t *model_json(const struct kl_hosted *m, const char *name)
{
    const struct kl_served *served = &m->served;
    struct kl_engine_stats stats;
    kl_hosted_stats(m, &stats);
    uint64_t n_vocab = served->facts != NULL ? served->facts->n_vocab : 0;
    if (served->tokenizer != NULL)
        n_vocab = kl_tokenizer_size(served->tokenizer);
    json_t *loaded = m->host->n > 1 ? json_boolean(kl_hosted_is_open(m)) : NULL;
    json_t *advice = served->facts != NULL ? advice_json(&served->facts->advice) : NULL;
    return json_pack("{s:s, s:s, s:I, s:s, s:{s:s?, s:I, s:I, s:I, s:b, s:o, s:o*, s:o*}}", "id",
                     name, "object", "model", "created", (json_int_t)served->model_created,
                     "owned_by", "kinglet", "meta", "file", served->model_file, "size",
                     (json_int_t)served->model_bytes, "n_ctx", (json_int_t)stats.ctx_size,
                     "n_vocab", (json_int_t)n_vocab, "thinking",
                     kl_chat_template_has(served->chat_template, KL_CHAT_THINKING), "capabilities",
                     kl_ollama_capabilities_json(served), "sampling", advice, "loaded", loaded);
}

/* Adds a model under each of its names, its own first. Returns whether there was memory. */
static bool add_names(const struct kl_hosted *m, json_t *data)
{
    const struct kl_served *served = &m->served;
    bool ok = json_array_append_new(data, model_json(m, served->model_name)) == 0;
    for (size_t i = 0; i < served->n_aliases && ok; i++)
        ok = json_array_append_new(data, model_json(m, served->aliases[i])) == 0;
    return ok;
}

/* Returns all models, the default first. NULL: no memory. */
static json_t *list_json(const struct kl_model_host *host)
{
    json_t *data = json_array();
    for (size_t i = 0; i < host->n; i++) {
        if (!add_names(&host->models[i], data)) {
            json_decref(data);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o}", "object", "list", "data", data);
}

static void reply_model(struct kl_exchange *x, const struct kl_model_host *host, const char *name)
{
    const struct kl_hosted *m = &host->models[kl_host_find(host, name, NULL)];
    struct kl_api_error error;
    if (kl_served_check_name(&m->served, name, &error) != KL_OK)
        kl_reply_error(x, &error);
    else
        kl_reply_json(x, 200, model_json(m, kl_served_find_name(&m->served, name)));
}

KL_HANDLER(kl_handle_models)
{
    const char *name = strstr(x->path, "/models") + strlen("/models");
    const struct kl_service *service = kl_service_of(x);
    if (kl_reply_loading(x))
        return;
    if (name[0] == '\0')
        kl_reply_json(x, 200, list_json(&service->host));
    else
        reply_model(x, &service->host, name + 1);
}
