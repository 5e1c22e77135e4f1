/*
 * POST /v1/messages and /v1/messages/count_tokens, as in Anthropic's API reference (Messages), as
 * far as a model of this size can do it. Messages are read by messages_input.h, answers written by
 * messages_format.h.
 */
#include <stdlib.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/message_fields.h"
#include "api/messages_format.h"
#include "api/messages_input.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/tool_calls.h"
#include "api/unsupported_fields.h"
#include "service/intake.h"

/* ---- tools ----------------------------------------------------------------------------------- */

/* {"name", "description", "input_schema"}; tools of other types run on Anthropic's servers, or have
 * schemas that its models were trained with. */
static enum kl_status read_tools(const json_t *list, struct kl_tools *tools,
                                 struct kl_api_error *error)
{
    size_t i;
    const json_t *entry;
    json_array_foreach((json_t *)list, i, entry)
    {
        const char *type = json_string_value(json_object_get(entry, "type"));
        if (type != NULL && strcmp(type, "custom") != 0)
            return kl_api_fail(
                error, 400, "unsupported", "tools",
                "tools[%zu] is of type \"%.40s\"; this server offers only tools with "
                "a name and an input_schema, which the client runs",
                i, type);
        const struct kl_tool tool = {.name = json_string_value(json_object_get(entry, "name")),
                                     .description =
                                         json_string_value(json_object_get(entry, "description")),
                                     .parameters = json_object_get(entry, "input_schema")};
        if (kl_tools_add(tools, &tool, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return KL_OK;
}

static enum kl_status read_choice(const json_t *choice, struct kl_tools *tools,
                                  struct kl_api_error *error)
{
    const char *type = NULL, *name = NULL;
    if (choice == NULL)
        return KL_OK;
    if (kl_field_string(choice, "type", &type, error) != KL_OK ||
        kl_field_string(choice, "name", &name, error) != KL_OK)
        return KL_ERR_INVALID;
    if (type != NULL && strcmp(type, "tool") == 0 && name != NULL) {
        if (kl_tools_demand(tools, name, "tool_choice", error) != KL_OK)
            return KL_ERR_INVALID;
    } else if (type != NULL && strcmp(type, "any") == 0) {
        tools->mode = KL_TOOLS_REQUIRED;
    } else if (type != NULL && strcmp(type, "none") == 0) {
        tools->mode = KL_TOOLS_NONE;
    } else if (type == NULL || strcmp(type, "auto") != 0) {
        return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                           "tool_choice.type must be auto, any, none, or tool with a name");
    }
    if (tools->mode == KL_TOOLS_REQUIRED && tools->n == 0)
        return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                           "tool_choice is \"any\", but there are no tools");
    tools->is_single = tools->mode == KL_TOOLS_REQUIRED;
    return kl_field_bool(choice, "disable_parallel_tool_use", &tools->is_single, error);
}

static enum kl_status parse_tools(const json_t *body, struct kl_tools *tools,
                                  struct kl_api_error *error)
{
    const json_t *list = NULL, *choice = NULL;
    *tools = (struct kl_tools){.field = "tools", .schema = "input_schema"};
    if (kl_field_array(body, "tools", &list, error) != KL_OK ||
        kl_field_object(body, "tool_choice", &choice, error) != KL_OK ||
        read_tools(list, tools, error) != KL_OK)
        return KL_ERR_INVALID;
    return read_choice(choice, tools, error);
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* Reads stop_sequences, and keeps them for the answer, which names the one that ended it. */
static enum kl_status parse_stops(const json_t *body, struct kl_generation_request *r,
                                  struct kl_api_error *error)
{
    const json_t *stops = NULL;
    if (kl_field_array(body, "stop_sequences", &stops, error) != KL_OK)
        return KL_ERR_INVALID;
    if (stops == NULL)
        return KL_OK;
    json_t *as_chat = json_pack("{s:O}", "stop", (json_t *)stops);
    if (kl_keep_json(r, as_chat, error) != KL_OK)
        return KL_ERR_INVALID;
    if (kl_stop_field(as_chat, r, error) != KL_OK) {
        kl_rename_field(error, "stop", "stop_sequences");
        return KL_ERR_INVALID;
    }
    size_t size = 1, at = 0;
    for (size_t i = 0; i < r->n_stops; i++)
        size += strlen(r->stops[i]) + 1;
    r->kept = malloc(size);
    if (r->kept == NULL)
        return kl_api_fail_memory(error, "the request");
    for (size_t i = 0; i < r->n_stops; i++) {
        size_t n = strlen(r->stops[i]) + 1;
        memcpy(r->kept + at, r->stops[i], n);
        at += n;
    }
    return KL_OK;
}

/* Reads the format of the answer, a schema: output_config.format, or output_format, its older name.
 */
static enum kl_status parse_format(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *config = NULL, *format = NULL;
    const char *type = NULL;
    if (kl_field_object(body, "output_config", &config, error) != KL_OK ||
        kl_field_object(body, "output_format", &format, error) != KL_OK ||
        kl_field_object(config, "format", &format, error) != KL_OK)
        return KL_ERR_INVALID;
    if (format == NULL)
        return KL_OK;
    const char *name = config != NULL ? "output_config" : "output_format";
    const json_t *schema = json_object_get(format, "schema");
    if (kl_field_string(format, "type", &type, error) != KL_OK || type == NULL ||
        strcmp(type, "json_schema") != 0 || !json_is_object(schema))
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s must have the type json_schema, and a schema, an object", name);
    json_t *as_chat = json_pack("{s:{s:s, s:{s:O}}}", "response_format", "type", "json_schema",
                                "json_schema", "schema", schema);
    if (kl_keep_json(r, as_chat, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status = kl_rule_fields(as_chat, r, error);
    if (status != KL_OK)
        kl_rename_field(error, "response_format", name);
    return status;
}

/* The fields that other routes have, too. Thinking that is switched on says no more than nothing: a
 * model that can think does, and clients of this API switch it on for every model. */
static enum kl_status parse_common(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const char *type =
        json_string_value(json_object_get(json_object_get(body, "thinking"), "type"));
    if (type == NULL || (strcmp(type, "enabled") != 0 && strcmp(type, "adaptive") != 0))
        return kl_answer_fields(body, r, error);
    json_t *copy = json_copy((json_t *)body);
    json_object_del(copy, "thinking");
    if (kl_keep_json(r, copy, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_answer_fields(copy, r, error);
}

static enum kl_status parse_messages(const json_t *body, struct kl_generation_request *r,
                                     struct kl_api_error *error)
{
    const json_t *messages = NULL;
    if (kl_field_array(body, "messages", &messages, error) != KL_OK)
        return KL_ERR_INVALID;
    if (messages == NULL)
        return kl_api_fail(error, 400, "invalid_value", "messages",
                           "messages is missing; it must be an array of messages");
    json_t *as_chat = json_array();
    enum kl_status status = kl_keep_json(r, as_chat, error);
    if (status == KL_OK)
        status = kl_messages_input(json_object_get(body, "system"), messages, as_chat, error);
    return status == KL_OK ? kl_chat_input_parse(as_chat, r->source, &r->input, error) : status;
}

static enum kl_status parse_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *metadata = NULL;
    struct kl_tools tools;
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_MESSAGES, error) != KL_OK ||
        kl_field_object(body, "metadata", &metadata, error) != KL_OK ||
        kl_field_bool(body, "stream", &r->stream, error) != KL_OK ||
        kl_sampling_fields(body, r, error) != KL_OK || parse_stops(body, r, error) != KL_OK ||
        parse_tools(body, &tools, error) != KL_OK || parse_messages(body, r, error) != KL_OK ||
        parse_common(body, r, error) != KL_OK || parse_format(body, r, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_tools_apply(&tools, r, error);
}

/* ---- /v1/messages ---------------------------------------------------------------------------- */

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body = NULL;
    int64_t max_tokens = 0;
    if (kl_read_body(text, len, r, &body, error) != KL_OK ||
        kl_field_int(body, "max_tokens", 1, INT32_MAX, &max_tokens, error) != KL_OK)
        return KL_ERR_INVALID;
    if (max_tokens == 0)
        return kl_api_fail(error, 400, "invalid_value", "max_tokens",
                           "max_tokens is missing; it must be the most tokens of the answer");
    r->max_tokens = (size_t)max_tokens;
    return parse_fields(body, r, error);
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &kl_messages_stream,
                                          &kl_messages_document};

KL_HANDLER(kl_handle_messages)
{
    kl_generation_start(x, &dialect);
}

/* ---- /v1/messages/count_tokens --------------------------------------------------------------- */

static enum kl_status count(const struct kl_computation *c, struct kl_buffer *out,
                            struct kl_api_error *error)
{
    size_t n = c->n_prompts > 0 ? c->prompts[0].len : 0;
    if (kl_buffer_append_format(out, "{\"input_tokens\":%zu}\n", n) == KL_OK)
        return KL_OK;
    return kl_api_fail_memory(error, "the answer");
}

static enum kl_status parse_count(const char *text, size_t len, bool is_query,
                                  struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body = NULL;
    if (kl_read_body(text, len, r, &body, error) != KL_OK || parse_fields(body, r, error) != KL_OK)
        return KL_ERR_INVALID;
    r->stream = false;
    r->compute = count;
    r->context_policy = KL_CONTEXT_ERROR; /* all of it is counted */
    r->max_tokens = 1;
    return KL_OK;
}

static const struct kl_dialect count_dialect = {kl_answer_headers, parse_count,
                                                &kl_messages_document, &kl_messages_document};

KL_HANDLER(kl_handle_count_tokens)
{
    kl_generation_start(x, &count_dialect);
}
