/* GET /v1/models and /v1/models/NAME. */
#include "service/served.h"

#include <string.h>

#include "base/model_name.h"
#include "server/routes.h"
#include "server/server_state.h"

/* The name among those of the model that is meant, as it is written here; NULL: none of them. */
static const char *find_name(const struct kl_served *o, const char *asked)
{
    if (asked == NULL || asked[0] == '\0' || kl_model_names_equal(asked, "default") ||
        kl_model_names_equal(asked, o->model_name) ||
        (o->model_file != NULL && kl_model_names_equal(asked, o->model_file)))
        return o->model_name;
    for (size_t i = 0; i < o->n_aliases; i++) {
        if (kl_model_names_equal(asked, o->aliases[i]))
            return o->aliases[i];
    }
    return NULL;
}

enum kl_status kl_model_check(const struct kl_server *server, const char *name,
                              struct kl_api_error *error)
{
    const struct kl_served *o = &server->served;
    if (find_name(o, name) != NULL)
        return KL_OK;
    return kl_api_fail(error, 404, "model_not_found", "model",
                       "the model \"%.100s\" is not served here; this server has \"%s\"", name,
                       o->model_name);
}

static json_t *model_json(const struct kl_server *server, const char *name)
{
    const struct kl_served *o = &server->served;
    struct kl_engine_stats stats;
    kl_engine_stats(o->engine, &stats);
    return json_pack("{s:s, s:s, s:I, s:s, s:{s:s?, s:I, s:I, s:I}}", "id", name, "object", "model",
                     "created", (json_int_t)o->model_created, "owned_by", "kinglet", "meta", "file",
                     o->model_file, "size", (json_int_t)o->model_bytes, "n_ctx",
                     (json_int_t)stats.ctx_size, "n_vocab",
                     (json_int_t)kl_tokenizer_size(o->tokenizer));
}

/* The model under each of its names, its own first. NULL: no memory. */
static json_t *list_json(const struct kl_server *server)
{
    const struct kl_served *o = &server->served;
    json_t *data = json_pack("[o]", model_json(server, o->model_name));
    for (size_t i = 0; i < o->n_aliases && data != NULL; i++) {
        if (json_array_append_new(data, model_json(server, o->aliases[i])) != 0) {
            json_decref(data);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o}", "object", "list", "data", data);
}

void kl_handle_models(struct kl_exchange *x)
{
    const char *name = strstr(x->path, "/models") + strlen("/models");
    struct kl_api_error error;
    if (kl_server_is_loading(x->server)) {
        kl_api_fail(&error, 503, "loading", NULL,
                    "the model is being loaded; /health says how far");
        error.retry_after = 1;
        kl_reply_error(x, &error);
        return;
    }
    if (name[0] == '\0')
        kl_reply_json(x, 200, list_json(x->server));
    else if (kl_model_check(x->server, name + 1, &error) != KL_OK)
        kl_reply_error(x, &error);
    else
        kl_reply_json(x, 200, model_json(x->server, find_name(&x->server->served, name + 1)));
}
