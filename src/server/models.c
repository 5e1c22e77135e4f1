/* GET /v1/models and /v1/models/NAME. */
#include "server/models.h"

#include <string.h>

#include "server/routes.h"
#include "server/server_state.h"

enum kl_status kl_model_check(const struct kl_server *server, const char *name,
                              struct kl_api_error *error)
{
    const struct kl_served *o = &server->served;
    if (name == NULL || name[0] == '\0' || strcmp(name, "default") == 0 ||
        strcmp(name, o->model_name) == 0 ||
        (o->model_file != NULL && strcmp(name, o->model_file) == 0))
        return KL_OK;
    return kl_api_fail(error, 404, "model_not_found", "model",
                       "the model \"%.100s\" is not served here; this server has \"%s\"", name,
                       o->model_name);
}

static json_t *model_json(const struct kl_server *server)
{
    const struct kl_served *o = &server->served;
    struct kl_engine_stats stats;
    kl_engine_stats(o->engine, &stats);
    return json_pack("{s:s, s:s, s:I, s:s, s:{s:s?, s:I, s:I, s:I}}", "id", o->model_name, "object",
                     "model", "created", (json_int_t)o->model_created, "owned_by", "kinglet",
                     "meta", "file", o->model_file, "size", (json_int_t)o->model_bytes, "n_ctx",
                     (json_int_t)stats.ctx_size, "n_vocab",
                     (json_int_t)kl_tokenizer_size(o->tokenizer));
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
    if (name[0] == '\0') {
        kl_reply_json(x, 200,
                      json_pack("{s:s, s:[o]}", "object", "list", "data", model_json(x->server)));
        return;
    }
    if (kl_model_check(x->server, name + 1, &error) != KL_OK)
        kl_reply_error(x, &error);
    else
        kl_reply_json(x, 200, model_json(x->server));
}
