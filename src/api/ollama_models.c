/*
 * GET /api/version, /api/tags and /api/ps, as in Ollama's API, and the routes by which it changes
 * its models, which are refused here.
 *
 * A model is listed under each of its names, with the tag that Ollama's clients expect.
 */
#include "api/ollama_models.h"
#include "api/answer_json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/ollama_format.h"
#include "api/reply_json.h"
#include "base/clock.h"
#include "service/service.h"

/* The version of the API that is spoken: clients refuse older ones. */
#define API_VERSION "0.12.0"
/* The default is not unloaded: it "expires" in a hundred years, as for keep_alive -1. */
#define FOREVER ((int64_t)100 * 365 * 86400)

/* Writes a number as Ollama does: "494.03M". */
static void format_parameters(uint64_t n, char *out, size_t size)
{
    double number = (double)n;
    const char *unit = number >= 1e9 ? "B" : number >= 1e6 ? "M" : number >= 1e3 ? "K" : "";
    number /= number >= 1e9 ? 1e9 : number >= 1e6 ? 1e6 : number >= 1e3 ? 1e3 : 1;
    if (n >= 1000000000)
        snprintf(out, size, "%.1f%s", number, unit);
    else if (n >= 1000000)
        snprintf(out, size, "%.2f%s", number, unit);
    else
        snprintf(out, size, "%.0f%s", number, unit);
}

json_t *kl_ollama_details_json(const struct kl_served *served)
{
    char parameters[32] = "";
    const struct kl_model_facts *facts = served->facts;
    const char *family = facts != NULL ? facts->architecture : "";
    if (facts != NULL)
        format_parameters(facts->n_parameters, parameters, sizeof parameters);
    return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", "gguf",
                     "family", family, "families", family, "parameter_size", parameters,
                     "quantization_level", facts != NULL ? facts->quantization : "unknown");
}

static bool has_one(const struct kl_served *served, unsigned features)
{
    return kl_chat_template_has(served->chat_template, (enum kl_chat_feature)features);
}

json_t *kl_ollama_capabilities_json(const struct kl_served *served)
{
    const struct kl_model_facts *facts = served->facts;
    json_t *list = json_array();
    if (facts != NULL && facts->for_embeddings)
        json_array_append_new(list, json_string("embedding"));
    if (facts != NULL && facts->only_embeds)
        return list;
    json_array_append_new(list, json_string("completion"));
    if (has_one(served, KL_CHAT_TOOLS))
        json_array_append_new(list, json_string("tools"));
    if (kl_served_has_gaps(served))
        json_array_append_new(list, json_string("insert"));
    if (has_one(served, KL_CHAT_THINKING | KL_CHAT_ONLY_THINKING))
        json_array_append_new(list, json_string("thinking"));
    return list;
}

json_t *kl_ollama_time_json(int64_t seconds)
{
    const time_t time = (time_t)seconds;
    char text[40];
    struct tm utc;
    gmtime_r(&time, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_string(text);
}

/* The model under one of its names. */
static json_t *model_json(const struct kl_hosted *m, const char *name)
{
    const struct kl_served *served = &m->served;
    const char *tag = strchr(name, ':') == NULL ? ":latest" : "";
    const struct kl_model_facts *facts = served->facts;
    json_t *model = json_pack("{s:s+, s:s+, s:o, s:I, s:s, s:o, s:o}", "name", name, tag, "model",
                              name, tag, "modified_at", kl_ollama_time_json(served->model_created),
                              "size", (json_int_t)served->model_bytes, "digest",
                              facts != NULL ? atomic_load(&facts->digest) : "", "details",
                              kl_ollama_details_json(served), "capabilities",
                              kl_ollama_capabilities_json(served));
    return model;
}

/* The seconds since 1970 at which a model is closed if it is not used again. */
static int64_t expires(const struct kl_hosted *m)
{
    uint64_t now_ns = kl_now_ns(), expires_ns = kl_hosted_expires_ns(m);
    int64_t now = (int64_t)time(NULL);
    if (m->host->n == 1 || m == m->host->models)
        return now + FOREVER;
    if (m->n_users > 0)
        return now + (int64_t)(m->keep_ns / 1000000000u);
    return now + (expires_ns > now_ns ? (int64_t)((expires_ns - now_ns) / 1000000000u) : 0);
}

/* Adds what /api/ps says of a model that is loaded. */
static json_t *running_json(const struct kl_hosted *m, const char *name)
{
    struct kl_engine_stats stats;
    kl_hosted_stats(m, &stats);
    json_t *model = model_json(m, name);
    json_object_del(model, "modified_at");
    json_object_set_new(model, "expires_at", kl_ollama_time_json(expires(m)));
    json_object_set_new(model, "size_vram", json_integer(0));
    json_object_set_new(model, "context_length", json_integer((json_int_t)stats.ctx_size));
    return model;
}

typedef json_t *describe_fn(const struct kl_hosted *m, const char *name);

static void reply_models(struct kl_exchange *x, describe_fn *describe, bool only_open)
{
    const struct kl_service *service = kl_service_of(x);
    if (kl_reply_loading(x))
        return;
    json_t *models = json_array();
    for (size_t i = 0; i < service->host.n; i++) {
        const struct kl_hosted *m = &service->host.models[i];
        if (only_open && !kl_hosted_is_open(m))
            continue;
        json_array_append_new(models, describe(m, m->served.model_name));
        for (size_t alias = 0; alias < m->served.n_aliases; alias++)
            json_array_append_new(models, describe(m, m->served.aliases[alias]));
    }
    kl_reply_json(x, 200, json_pack("{s:o}", "models", models));
}

KL_HANDLER(kl_handle_ollama_tags)
{
    reply_models(x, model_json, false);
}

KL_HANDLER(kl_handle_ollama_ps)
{
    reply_models(x, running_json, true);
}

KL_HANDLER(kl_handle_ollama_version)
{
    kl_reply_json(x, 200, json_pack("{s:s}", "version", API_VERSION));
}

static void refuse(struct kl_exchange *x, const char *what)
{
    struct kl_api_error error;
    kl_api_fail(&error, 501, "unsupported", NULL,
                "%s is not offered by this server: it serves the models that it was started "
                "with, and their files are the operator's",
                what);
    kl_reply_error(x, &error);
}

KL_HANDLER(kl_handle_ollama_change)
{
    char what[64];
    snprintf(what, sizeof what, "%.60s", x->path);
    refuse(x, what);
}

KL_HANDLER(kl_handle_ollama_unknown)
{
    struct kl_api_error error;
    kl_api_fail(&error, 404, "not_found", NULL,
                "there is no route %.200s; of Ollama's API this server has chat, generate, embed, "
                "embeddings, tags, ps, show, version and pull",
                x->path);
    kl_reply_error(x, &error);
}
