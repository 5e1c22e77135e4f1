/* The fields of llama-server's completions, and what the format of the answer keeps of them. */
#include <string.h>

#include "api/answer_fields.h"
#include "api/fields.h"
#include "api/llama_completion.h"
#include "api/llama_settings.h"
#include "api/prompt_fields.h"
#include "api/prompt_texts.h"
#include "api/reply_json.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/unsupported_fields.h"

#define MAX_RESPONSE_FIELDS 64

/* Reads `n_probs`, or `logprobs` as a number: the number of most likely tokens to report. */
static enum kl_status probs_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    int64_t n = 0;
    const char *name = json_object_get(body, "n_probs") != NULL ? "n_probs" : "logprobs";
    if (json_is_false(json_object_get(body, name)))
        return KL_OK;
    if (kl_field_int(body, name, 0, KL_MAX_TOP_LOGPROBS, &n, error) != KL_OK)
        return KL_ERR_INVALID;
    r->logprobs = n > 0;
    r->top_logprobs = (size_t)n;
    return KL_OK;
}

static enum kl_status choices_field(const json_t *body, struct kl_generation_request *r,
                                    struct kl_api_error *error)
{
    int64_t n = 1;
    if (kl_field_int(body, "n", 1, KL_MAX_CHOICES, &n, error) != KL_OK ||
        kl_field_int(body, "n_cmpl", 1, KL_MAX_CHOICES, &n, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_choices_of_prompts((size_t)n, r, error);
}

/* Reads the limit, under any of its names; without one, the answer may fill the context. */
static enum kl_status limit_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    r->max_tokens = SIZE_MAX;
    if (kl_max_tokens_field(body, "max_tokens", &r->max_tokens, error) != KL_OK ||
        kl_max_tokens_field(body, "max_completion_tokens", &r->max_tokens, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_max_tokens_field(body, "n_predict", &r->max_tokens, error);
}

/* Checks the fields that only the format of the answer uses (describe reads them), and those that
 * have no effect here: which slot, and whether computed prompts are used again. */
static enum kl_status check_format_fields(const json_t *body, struct kl_generation_request *r,
                                          struct kl_api_error *error)
{
    bool flag = false;
    int64_t number = 0;
    size_t i;
    const json_t *fields = NULL, *field;
    if (kl_field_bool(body, "stream", &r->stream, error) != KL_OK ||
        kl_field_bool(body, "cache_prompt", &flag, error) != KL_OK ||
        kl_field_bool(body, "timings_per_token", &flag, error) != KL_OK ||
        kl_field_int(body, "id_slot", -1, INT32_MAX, &number, error) != KL_OK ||
        kl_field_int(body, "t_max_predict_ms", -1, INT64_MAX, &number, error) != KL_OK ||
        kl_field_int(body, "n_indent", 0, INT32_MAX, &number, error) != KL_OK ||
        kl_field_array(body, "response_fields", &fields, error) != KL_OK)
        return KL_ERR_INVALID;
    if (json_array_size(fields) > MAX_RESPONSE_FIELDS)
        return kl_api_fail(error, 400, "invalid_value", "response_fields",
                           "response_fields may have at most %d names", MAX_RESPONSE_FIELDS);
    json_array_foreach(fields, i, field)
    {
        if (!json_is_string(field))
            return kl_api_fail(error, 400, "invalid_type", "response_fields",
                               "response_fields must be an array of names, such as "
                               "\"timings/predicted_ms\"");
    }
    bool return_tokens = false;
    enum kl_status status = kl_field_bool(body, "return_tokens", &return_tokens, error);
    r->token_ids = r->stream || return_tokens;
    return status;
}

/* Returns a copy of the members of body that the format uses. */
static json_t *format_fields(const json_t *body)
{
    static const char *const names[] = {"timings_per_token", "return_tokens", "response_fields",
                                        "t_max_predict_ms", "n_indent"};
    json_t *kept = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *value = json_object_get(body, names[i]);
        if (value != NULL && !json_is_null(value))
            json_object_set(kept, names[i], value);
    }
    return kept;
}

/* Writes what the format keeps: {"settings", "prompts", "fields"}. */
static enum kl_status describe(const struct kl_computation *c, struct kl_buffer *kept,
                               struct kl_api_error *error)
{
    const json_t *body = json_array_get(c->request->source, 0);
    bool complete; /* prompts beyond the limit are not repeated */
    json_t *settings =
        kl_llama_settings_json(c->request, c->served->tokenizer, c->max_tokens, c->ctx_size);
    return kl_write_json(kept,
                         json_pack("{s:o, s:o, s:o}", "settings", settings, "prompts",
                                   kl_prompt_texts_json(c, &complete), "fields",
                                   format_fields(body)),
                         error);
}

enum kl_status kl_llama_fields(const json_t *body, struct kl_generation_request *r,
                               struct kl_api_error *error)
{
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        limit_fields(body, r, error) != KL_OK || choices_field(body, r, error) != KL_OK ||
        kl_sampling_fields(body, r, error) != KL_OK ||
        kl_llama_samplers_field(body, &r->sampling, error) != KL_OK ||
        probs_fields(body, r, error) != KL_OK || kl_stop_field(body, r, error) != KL_OK ||
        check_format_fields(body, r, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_LLAMA, error) != KL_OK)
        return KL_ERR_INVALID;
    r->describe = describe;
    enum kl_status status = kl_answer_fields(body, r, error);
    return status == KL_OK ? kl_rule_fields(body, r, error) : status;
}
