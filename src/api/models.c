/* GET /v1/models and /v1/models/NAME. */
#include <string.h>

#include "api/reply_json.h"
#include "service/service.h"

static json_t *model_json(const struct kl_served *served, const char *name)
{
    struct kl_engine_stats stats;
    kl_engine_stats(served->engine, &stats);
    return json_pack("{s:s, s:s, s:I, s:s, s:{s:s?, s:I, s:I, s:I}}", "id", name, "object", "model",
                     "created", (json_int_t)served->model_created, "owned_by", "kinglet", "meta",
                     "file", served->model_file, "size", (json_int_t)served->model_bytes, "n_ctx",
                     (json_int_t)stats.ctx_size, "n_vocab",
                     (json_int_t)kl_tokenizer_size(served->tokenizer));
}

/* Returns the model under each of its names, its own first. NULL: no memory. */
static json_t *list_json(const struct kl_served *served)
{
    json_t *data = json_pack("[o]", model_json(served, served->model_name));
    for (size_t i = 0; i < served->n_aliases && data != NULL; i++) {
        if (json_array_append_new(data, model_json(served, served->aliases[i])) != 0) {
            json_decref(data);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o}", "object", "list", "data", data);
}

KL_HANDLER(kl_handle_models)
{
    const char *name = strstr(x->path, "/models") + strlen("/models");
    const struct kl_service *service = kl_service_of(x);
    const struct kl_served *served = &service->served;
    struct kl_api_error error;
    if (kl_service_is_loading(service)) {
        kl_api_fail(&error, 503, "loading", NULL,
                    "the model is being loaded; /health shows the progress");
        error.retry_after = 1;
        kl_reply_error(x, &error);
        return;
    }
    if (name[0] == '\0')
        kl_reply_json(x, 200, list_json(served));
    else if (kl_served_check_name(served, name + 1, &error) != KL_OK)
        kl_reply_error(x, &error);
    else
        kl_reply_json(x, 200, model_json(served, kl_served_find_name(served, name + 1)));
}
