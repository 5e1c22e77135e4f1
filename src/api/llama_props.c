/*
 * GET /props and /slots, as llama-server has them: the model and the defaults of requests, and how
 * many slots work. Neither shows texts of requests, and nothing can be changed here.
 */
#include <string.h>

#include "api/answer_json.h"
#include "api/llama_settings.h"
#include "api/reply_json.h"
#include "api/sampling_fields.h"
#include "http/query.h"
#include "service/service.h"

/* Replies to a POST: what llama-server changes or writes to files is fixed here. */
static void refuse_change(struct kl_exchange *x, const char *what)
{
    struct kl_api_error error;
    kl_api_fail(&error, 501, "unsupported", NULL, "this server does not offer to %s", what);
    kl_reply_error(x, &error);
}

static json_t *defaults_json(const struct kl_service *s, size_t ctx_size)
{
    struct kl_generation_request r;
    struct kl_api_error error;
    json_t *no_fields = json_object();
    size_t max_tokens = s->options.max_tokens != 0 ? s->options.max_tokens : SIZE_MAX;
    kl_generation_request_init(&r, s->options.context_policy, s->options.loop_guard);
    kl_sampling_fields(no_fields, &r, &error);
    r.sampling.seed = s->options.has_seed ? s->options.seed : UINT32_MAX; /* there: a random one */
    json_t *settings =
        kl_llama_settings_json(&r, kl_service_default(s)->tokenizer, max_tokens, ctx_size);
    json_decref(no_fields);
    kl_generation_request_release(&r);
    return json_pack("{s:o, s:I}", "params", settings, "n_ctx", (json_int_t)ctx_size);
}

/* Returns the text of the first token that ends an answer; "" while the model is not open. */
static const char *end_token(const struct kl_tokenizer *tokenizer, size_t *len)
{
    size_t n = 0;
    const int32_t *ends = tokenizer != NULL ? kl_tokenizer_ends(tokenizer, &n) : NULL;
    *len = 0;
    const char *piece = n > 0 ? kl_tokenizer_piece(tokenizer, ends[0], len) : NULL;
    return piece != NULL ? piece : "";
}

KL_HANDLER(kl_handle_props)
{
    const struct kl_service *s = kl_service_of(x);
    const struct kl_served *served = kl_service_default(s);
    struct kl_engine_stats stats;
    size_t len;
    if (x->head->method == KL_HTTP_POST) {
        refuse_change(x, "change its properties by a request: its options are those of the start");
        return;
    }
    if (kl_reply_loading(x))
        return;
    kl_hosted_stats(&s->host.models[0], &stats);
    const char *end = end_token(served->tokenizer, &len);
    json_t *props = json_pack(
        "{s:o, s:I, s:s, s:s, s:{s:b, s:b, s:b}, s:b, s:b, s:b, s:s, s:s, s:s%, s:s+, s:b}",
        "default_generation_settings", defaults_json(s, stats.ctx_size), "total_slots",
        (json_int_t)stats.parallel, "model_alias", served->model_name, "model_path",
        served->model_file != NULL ? served->model_file : "", "modalities", "vision", 0, "video", 0,
        "audio", 0, "endpoint_slots", 1, "endpoint_props", 0, "endpoint_metrics", 1,
        "chat_template", kl_chat_template_name(served->chat_template), "bos_token", "", "eos_token",
        end, len, "build_info", "kinglet-", KL_VERSION, "is_sleeping", 0);
    kl_reply_json(x, 200, props);
}

/* Whether the query asks for an error if no slot is free. */
static bool fails_when_busy(const struct kl_exchange *x)
{
    struct kl_api_error error;
    struct kl_query *query = x->query != NULL ? kl_query_parse(x->query, &error) : NULL;
    const char *value = query != NULL ? kl_query_find(query, "fail_on_no_slot") : NULL;
    bool fails = value != NULL && value[0] != '\0';
    kl_query_free(query);
    return fails;
}

/* Slots are all the same here, so the first ones are those that work. */
KL_HANDLER(kl_handle_slots)
{
    const struct kl_service *s = kl_service_of(x);
    struct kl_engine_stats stats;
    struct kl_api_error error;
    if (x->head->method == KL_HTTP_POST) {
        refuse_change(x, "save, restore or erase slots: computed prompts are kept by --cache-ram "
                         "and --cache-disk");
        return;
    }
    if (kl_reply_loading(x))
        return;
    kl_hosted_stats(&s->host.models[0], &stats);
    if (stats.running >= stats.parallel && fails_when_busy(x)) {
        kl_api_fail(&error, 503, "no_slot", NULL, "all %zu slots are busy", stats.parallel);
        error.retry_after = 1;
        kl_reply_error(x, &error);
        return;
    }
    json_t *slots = json_array();
    for (size_t i = 0; i < stats.parallel; i++)
        json_array_append_new(slots, json_pack("{s:I, s:I, s:b, s:b}", "id", (json_int_t)i, "n_ctx",
                                               (json_int_t)stats.ctx_size, "speculative", 1,
                                               "is_processing", i < stats.running));
    kl_reply_json(x, 200, slots);
}
