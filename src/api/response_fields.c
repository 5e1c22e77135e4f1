#include "api/response_fields.h"

#include <string.h>

#include "api/answer_json.h"
#include "api/fields.h"
#include "api/rule_fields.h"

/* The limit if the request has none, as in Chat Completions. */
#define DEFAULT_MAX_TOKENS 2048

/* OpenAI's limits of metadata. */
#define MAX_METADATA       16
#define MAX_METADATA_KEY   64 /* bytes, as the next */
#define MAX_METADATA_VALUE 512

/* ---- limits ---------------------------------------------------------------------------------- */

static enum kl_status metadata_field(const json_t *body, struct kl_api_error *error)
{
    const json_t *metadata = NULL, *value;
    const char *key;
    if (kl_field_object(body, "metadata", &metadata, error) != KL_OK)
        return KL_ERR_INVALID;
    if (json_object_size(metadata) > MAX_METADATA)
        return kl_api_fail(error, 400, "invalid_value", "metadata",
                           "metadata may have at most %d members, it has %zu", MAX_METADATA,
                           json_object_size(metadata));
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return kl_api_fail(error, 400, "invalid_type", "metadata",
                               "metadata.%.64s must be a string, not %s", key,
                               kl_json_type_name(value));
        if (strlen(key) > MAX_METADATA_KEY || json_string_length(value) > MAX_METADATA_VALUE)
            return kl_api_fail(error, 400, "invalid_value", "metadata",
                               "metadata.%.64s: a name may have at most %d bytes, a value %d", key,
                               MAX_METADATA_KEY, MAX_METADATA_VALUE);
    }
    return KL_OK;
}

/* Log-probabilities are asked for by `include` or by their number. Other values of `include` are
 * parts of answers that no model here makes. */
static enum kl_status logprobs_fields(const json_t *body, struct kl_generation_request *r,
                                      struct kl_api_error *error)
{
    const json_t *include = NULL, *value;
    int64_t top = 0;
    size_t i;
    if (kl_field_array(body, "include", &include, error) != KL_OK ||
        kl_field_int(body, "top_logprobs", 0, KL_MAX_TOP_LOGPROBS, &top, error) != KL_OK)
        return KL_ERR_INVALID;
    json_array_foreach((json_t *)include, i, value)
    {
        if (!json_is_string(value))
            return kl_api_fail(error, 400, "invalid_type", "include",
                               "include[%zu] must be a string, not %s", i,
                               kl_json_type_name(value));
        if (strcmp(json_string_value(value), "message.output_text.logprobs") == 0)
            r->logprobs = true;
    }
    r->logprobs = r->logprobs || top > 0;
    r->top_logprobs = (size_t)top;
    if (r->logprobs && r->max_tokens > KL_MAX_LOGPROBS / (1 + r->top_logprobs))
        return kl_api_fail(error, 400, "invalid_value", "top_logprobs",
                           "an answer of %zu tokens with %zu top_logprobs each has more than %d "
                           "log-probabilities, the most that an answer holds: give a smaller "
                           "max_output_tokens or top_logprobs",
                           r->max_tokens, r->top_logprobs, KL_MAX_LOGPROBS);
    return KL_OK;
}

static enum kl_status truncation_field(const json_t *body, struct kl_generation_request *r,
                                       struct kl_api_error *error)
{
    const char *truncation = NULL;
    if (kl_field_string(body, "truncation", &truncation, error) != KL_OK)
        return KL_ERR_INVALID;
    if (truncation == NULL)
        return KL_OK;
    if (strcmp(truncation, "auto") == 0)
        r->context_policy = KL_CONTEXT_TRIM;
    else if (strcmp(truncation, "disabled") == 0)
        r->context_policy = KL_CONTEXT_ERROR;
    else
        return kl_api_fail(error, 400, "invalid_value", "truncation",
                           "truncation is \"%.40s\"; it must be auto or disabled", truncation);
    return KL_OK;
}

enum kl_status kl_response_fields(const json_t *body, struct kl_generation_request *r,
                                  struct kl_api_error *error)
{
    int64_t max_tokens = DEFAULT_MAX_TOKENS, max_calls;
    const char *text;
    if (kl_field_int(body, "max_output_tokens", 1, INT32_MAX, &max_tokens, error) != KL_OK ||
        kl_field_int(body, "max_tool_calls", 0, INT32_MAX, &max_calls, error) != KL_OK ||
        kl_field_string(body, "user", &text, error) != KL_OK ||
        kl_field_string(body, "safety_identifier", &text, error) != KL_OK ||
        kl_field_string(body, "prompt_cache_key", &text, error) != KL_OK)
        return KL_ERR_INVALID;
    r->max_tokens = (size_t)max_tokens;
    if (metadata_field(body, error) != KL_OK || truncation_field(body, r, error) != KL_OK)
        return KL_ERR_INVALID;
    return logprobs_fields(body, r, error);
}

/* ---- reasoning and text ---------------------------------------------------------------------- */

enum kl_status kl_response_reasoning_field(const json_t *body, struct kl_generation_request *r,
                                           struct kl_api_error *error)
{
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
    const char *name = "reasoning", *effort = NULL;
    const json_t *reasoning = NULL;
    size_t i = 0;
    if (kl_field_object(body, name, &reasoning, error) != KL_OK ||
        kl_field_string(reasoning, "effort", &effort, error) != KL_OK)
        return KL_ERR_INVALID;
    if (effort == NULL)
        return KL_OK;
    while (i < sizeof efforts / sizeof *efforts && strcmp(effort, efforts[i]) != 0)
        i++;
    if (i == sizeof efforts / sizeof *efforts)
        return kl_api_fail(error, 400, "invalid_value", "reasoning.effort",
                           "reasoning.effort is \"%.40s\"; it must be none, minimal, low, medium, "
                           "high or xhigh",
                           effort);
    if (i == 0) {
        r->input.thinking = KL_THINKING_OFF;
        r->input.thinking_name = name;
    }
    return KL_OK;
}

enum kl_status kl_response_text_field(const json_t *body, struct kl_generation_request *r,
                                      struct kl_api_error *error)
{
    const json_t *text = NULL, *format = NULL;
    const char *type = "text", *verbosity = NULL;
    if (kl_field_object(body, "text", &text, error) != KL_OK ||
        kl_field_object(text, "format", &format, error) != KL_OK ||
        kl_field_string(text, "verbosity", &verbosity, error) != KL_OK)
        return KL_ERR_INVALID;
    if (format == NULL)
        return KL_OK;
    if (kl_field_string(format, "type", &type, error) != KL_OK || type == NULL)
        return kl_api_fail(error, 400, "invalid_type", "text.format",
                           "text.format.type must be text, json_object or json_schema");
    if (strcmp(type, "text") == 0)
        return KL_OK;
    bool by_schema = strcmp(type, "json_schema") == 0;
    if (!by_schema && strcmp(type, "json_object") != 0)
        return kl_api_fail(error, 400, "invalid_value", "text.format",
                           "text.format.type is \"%.40s\"; it must be text, json_object or "
                           "json_schema",
                           type);
    const json_t *schema = json_object_get(format, "schema");
    if (by_schema && !json_is_object(schema))
        return kl_api_fail(error, 400, "invalid_type", "text.format",
                           "text.format.schema must be a JSON schema, an object, not %s",
                           schema != NULL ? kl_json_type_name(schema) : "absent");
    json_t *as_chat = by_schema ? json_pack("{s:{s:s, s:{s:O}}}", "response_format", "type", type,
                                            "json_schema", "schema", schema)
                                : json_pack("{s:{s:s}}", "response_format", "type", type);
    if (kl_keep_json(r, as_chat, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status = kl_rule_fields(as_chat, r, error);
    if (status != KL_OK)
        kl_rename_field(error, "response_format", "text.format");
    return status;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Copies a member of body, or else sets this value, which is stolen. */
static void repeat(json_t *out, const json_t *body, const char *name, json_t *otherwise)
{
    json_t *given = json_object_get(body, name);
    if (given == NULL || json_is_null(given)) {
        json_object_set_new(out, name, otherwise);
        return;
    }
    json_object_set(out, name, given);
    json_decref(otherwise);
}

static json_t *repeat_text(const json_t *body)
{
    json_t *text = json_object();
    repeat(text, json_object_get(body, "text"), "format", json_pack("{s:s}", "type", "text"));
    json_object_set_new(text, "verbosity", json_string("medium"));
    return text;
}

static json_t *repeat_reasoning(const json_t *body)
{
    json_t *reasoning = json_object();
    repeat(reasoning, json_object_get(body, "reasoning"), "effort", json_null());
    json_object_set_new(reasoning, "summary", json_null());
    return reasoning;
}

json_t *kl_response_fields_repeat(const json_t *body, const struct kl_generation_request *r,
                                  bool store)
{
    json_t *out = json_object();
    json_object_set_new(out, "background", json_false());
    repeat(out, body, "instructions", json_null());
    json_object_set_new(out, "max_output_tokens",
                        json_is_number(json_object_get(body, "max_output_tokens"))
                            ? json_integer((json_int_t)r->max_tokens)
                            : json_null());
    repeat(out, body, "max_tool_calls", json_null());
    repeat(out, body, "metadata", json_object());
    repeat(out, body, "parallel_tool_calls", json_true());
    repeat(out, body, "previous_response_id", json_null());
    repeat(out, body, "prompt_cache_key", json_null());
    json_object_set_new(out, "reasoning", repeat_reasoning(body));
    repeat(out, body, "safety_identifier", json_null());
    json_object_set_new(out, "service_tier",
                        json_string(r->service_tier != NULL ? r->service_tier : "default"));
    json_object_set_new(out, "store", json_boolean(store));
    json_object_set_new(out, "temperature", json_real((double)r->sampling.temperature));
    json_object_set_new(out, "text", repeat_text(body));
    repeat(out, body, "tool_choice", json_string("auto"));
    repeat(out, body, "tools", json_array());
    json_object_set_new(out, "top_logprobs", json_integer((json_int_t)r->top_logprobs));
    json_object_set_new(out, "top_p", json_real((double)r->sampling.top_p));
    json_object_set_new(out, "truncation",
                        json_string(r->context_policy == KL_CONTEXT_TRIM ? "auto" : "disabled"));
    repeat(out, body, "user", json_null());
    return out;
}
