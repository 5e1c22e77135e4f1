#include "api/message_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "base/buffer.h"
#include "http/http_message.h"
#include "json/json_limits.h"
#include "json/json_memory.h"

/* The separators of Python's json.dumps, as in the templates' tojson; with 15 digits, every short
 * decimal is written as it was read. */
#define DUMP_LIKE_PYTHON (JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))

/* The conversation being parsed, and the array that keeps new strings alive. */
struct parser {
    struct kl_chat_input *input;
    json_t *kept;
};

/* Keeps a JSON string alive as long as the array and returns its text; NULL when memory is short.
 * Takes value. */
static const char *keep(struct parser *p, json_t *value)
{
    if (value == NULL || json_array_append_new(p->kept, value) != 0)
        return NULL;
    return json_string_value(value);
}

static const char *keep_dump(struct parser *p, const json_t *value)
{
    char *text = json_dumps(value, DUMP_LIKE_PYTHON);
    const char *kept = text != NULL ? keep(p, json_string(text)) : NULL;
    free(text);
    return kept;
}

static enum kl_status parse_role(const json_t *message, const char *where, const char **role,
                                 struct kl_api_error *error)
{
    static const char *const roles[][2] = {{"system", "system"}, {"developer", "system"},
                                           {"user", "user"},     {"assistant", "assistant"},
                                           {"tool", "tool"},     {"function", "tool"}};
    const char *given = NULL;
    char param[64];
    snprintf(param, sizeof param, "%s.role", where);
    if (kl_field_string(message, "role", &given, error) != KL_OK || given == NULL)
        return kl_api_fail(error, 400, "invalid_value", param, "%s must be a string", param);
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(given, roles[i][0]) == 0) {
            *role = roles[i][1];
            return KL_OK;
        }
    }
    return kl_api_fail(error, 400, "invalid_value", param,
                       "%s is \"%.40s\"; it must be system, developer, user, assistant or tool",
                       param, given);
}

/* The names of a part of text: also those of the Responses API, which some clients mix up. */
static bool is_text_type(const char *type)
{
    return strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 ||
           strcmp(type, "output_text") == 0;
}

/* Joins an array of parts, each {"type":"text","text":"..."}, into one text. */
static enum kl_status join_parts(struct parser *p, const json_t *parts, const char *where,
                                 struct kl_message *out, struct kl_api_error *error)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_HTTP_MAX_BODY);
    enum kl_status status = KL_OK;
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part)
    {
        char param[64];
        snprintf(param, sizeof param, "%s.content[%zu]", where, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *words = json_object_get(part, "text");
        if (type != NULL && !is_text_type(type)) {
            status =
                kl_api_fail(error, 400, "unsupported", param,
                            "%s is of type \"%.40s\"; this model reads only text", param, type);
            goto done;
        }
        if (type == NULL || !json_is_string(words)) {
            status = kl_api_fail(error, 400, "invalid_value", param,
                                 "%s must be an object with \"type\": \"text\" and a string "
                                 "\"text\"",
                                 param);
            goto done;
        }
        if ((i > 0 && kl_buffer_append(&text, "\n", 1) != KL_OK) ||
            kl_buffer_append(&text, json_string_value(words), json_string_length(words)) != KL_OK) {
            status = kl_api_fail_memory(error, "the conversation");
            goto done;
        }
    }
    out->content_len = text.len;
    out->content = keep(p, json_stringn(text.data != NULL ? text.data : "", text.len));
    if (out->content == NULL)
        status = kl_api_fail_memory(error, "the conversation");

done:
    kl_buffer_release(&text);
    return status;
}

static enum kl_status parse_content(struct parser *p, const json_t *message, const char *where,
                                    struct kl_message *out, struct kl_api_error *error)
{
    const json_t *content = json_object_get(message, "content");
    if (json_is_string(content)) {
        out->content = json_string_value(content);
        out->content_len = json_string_length(content);
        return KL_OK;
    }
    if (json_is_array(content))
        return join_parts(p, content, where, out, error);

    bool absent = content == NULL || json_is_null(content);
    if (absent && (strcmp(out->role, "assistant") == 0 || strcmp(out->role, "tool") == 0))
        return KL_OK; /* it only calls tools; a tool that has no result */
    char param[64];
    snprintf(param, sizeof param, "%s.content", where);
    return kl_api_fail(error, 400, "invalid_type", param,
                       "%s must be a string or an array of text parts, not %s", param,
                       absent ? "null" : kl_json_type_name(content));
}

/* Returns the arguments of a call as text. They are a JSON text, or (from some clients) the object
 * itself. The text gets the spacing the model was trained on; text that is not valid JSON (a
 * mistake of the model) is passed unchanged. */
static const char *parse_arguments(struct parser *p, const json_t *arguments)
{
    if (arguments == NULL || json_is_null(arguments))
        return "{}";
    if (!json_is_string(arguments))
        return keep_dump(p, arguments);

    const char *text = json_string_value(arguments);
    size_t len = json_string_length(arguments);
    if (kl_json_check_limits(text, len, KL_JSON_MAX_DEPTH, KL_JSON_MAX_NODES, NULL) != KL_OK)
        return text;
    json_t *parsed = kl_json_load(text, len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    if (parsed == NULL)
        return text;
    const char *kept = keep_dump(p, parsed);
    json_decref(parsed);
    return kept;
}

/* Adds a call, {"name": ..., "arguments": ...}, to a message. */
static enum kl_status parse_call(struct parser *p, const json_t *function, const char *param,
                                 struct kl_message *out, struct kl_api_error *error)
{
    const char *name = json_string_value(json_object_get(function, "name"));
    if (name == NULL)
        return kl_api_fail(error, 400, "invalid_value", param,
                           "%s: the name of call %zu must be a string, in its member function",
                           param, out->n_tool_calls);
    const char *arguments = parse_arguments(p, json_object_get(function, "arguments"));
    if (arguments == NULL)
        return kl_api_fail_memory(error, "the conversation");
    if (out->n_tool_calls == 0)
        out->tool_calls = p->input->calls + p->input->n_calls;
    out->n_tool_calls++;
    p->input->calls[p->input->n_calls++] = (struct kl_tool_call){name, arguments};
    return KL_OK;
}

static enum kl_status parse_calls(struct parser *p, const json_t *message, const char *where,
                                  struct kl_message *out, struct kl_api_error *error)
{
    const json_t *calls = json_object_get(message, "tool_calls");
    const json_t *older = json_object_get(message, "function_call");
    char param[64];
    if (json_is_object(older) && (calls == NULL || json_is_null(calls))) {
        snprintf(param, sizeof param, "%s.function_call", where);
        return parse_call(p, older, param, out, error);
    }
    if (calls == NULL || json_is_null(calls))
        return KL_OK;
    snprintf(param, sizeof param, "%s.tool_calls", where);
    if (!json_is_array(calls))
        return kl_api_fail(error, 400, "invalid_type", param, "%s must be an array, not %s", param,
                           kl_json_type_name(calls));
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call)
    {
        enum kl_status status = parse_call(p, json_object_get(call, "function"), param, out, error);
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

/* Reads `reasoning_content`, as the APIs of DeepSeek, vLLM and llama-server have it: what the model
 * thought before this answer of it. */
static enum kl_status parse_thought(const json_t *message, const char *where,
                                    struct kl_message *out, struct kl_api_error *error)
{
    static const char name[] = "reasoning_content";
    const json_t *value = json_object_get(message, name);
    char param[64];
    if (value == NULL || json_is_null(value) || strcmp(out->role, "assistant") != 0)
        return KL_OK;
    snprintf(param, sizeof param, "%s.%s", where, name);
    if (!json_is_string(value))
        return kl_api_fail(error, 400, "invalid_type", param, "%s must be a string, not %s", param,
                           kl_json_type_name(value));
    if (json_string_length(value) > 0) {
        out->thought = json_string_value(value);
        out->thought_len = json_string_length(value);
    }
    return KL_OK;
}

enum kl_status kl_chat_input_parse(const json_t *messages, json_t *kept,
                                   struct kl_chat_input *input, struct kl_api_error *error)
{
    size_t n = json_array_size(messages), n_calls = 0, i;
    json_t *message;
    struct parser p = {input, kept};
    *input = (struct kl_chat_input){0};
    if (n == 0)
        return kl_api_fail(error, 400, "invalid_value", "messages",
                           "messages must have at least one message");
    json_array_foreach(messages, i, message) n_calls +=
        1 + json_array_size(json_object_get(message, "tool_calls"));

    input->messages = calloc(n, sizeof *input->messages);
    input->calls = calloc(n_calls + 1, sizeof *input->calls);
    if (input->messages == NULL || input->calls == NULL)
        return kl_api_fail_memory(error, "the conversation");

    json_array_foreach(messages, i, message)
    {
        struct kl_message *out = &input->messages[i];
        char where[32];
        snprintf(where, sizeof where, "messages[%zu]", i);
        if (!json_is_object(message))
            return kl_api_fail(error, 400, "invalid_type", where, "%s must be an object, not %s",
                               where, kl_json_type_name(message));
        enum kl_status status = parse_role(message, where, &out->role, error);
        if (status == KL_OK)
            status = parse_content(&p, message, where, out, error);
        if (status == KL_OK)
            status = parse_thought(message, where, out, error);
        if (status == KL_OK)
            status = parse_calls(&p, message, where, out, error);
        if (status != KL_OK)
            return status;
        input->n_messages++;
    }
    const struct kl_message *last = &input->messages[n - 1];
    input->continues = strcmp(last->role, "assistant") == 0 && last->n_tool_calls == 0;
    /* parse_arguments passes text that it cannot parse unchanged, which must not hide a lack of
     * memory */
    return kl_json_was_short() ? kl_api_fail_memory(error, "the conversation") : KL_OK;
}

enum kl_status kl_continuation_fields(const json_t *body, struct kl_chat_input *input,
                                      struct kl_api_error *error)
{
    size_t n = input->n_messages;
    bool is_prefill = input->continues, opens;
    if (kl_field_bool(body, "continue_final_message", &input->continues, error) != KL_OK)
        return KL_ERR_INVALID;
    opens = !input->continues;
    if (kl_field_bool(body, "add_generation_prompt", &opens, error) != KL_OK)
        return KL_ERR_INVALID;
    if (input->continues && !is_prefill)
        return kl_api_fail(error, 400, "invalid_value", "continue_final_message",
                           "continue_final_message needs a last message of the assistant, with "
                           "text and without tool_calls");
    if (input->continues && opens)
        return kl_api_fail(error, 400, "invalid_value", "add_generation_prompt",
                           "add_generation_prompt begins a new message, and "
                           "continue_final_message continues the last one: only one can be true");
    if (!input->continues && !opens)
        return kl_api_fail(error, 400, "unsupported", "add_generation_prompt",
                           "without add_generation_prompt the last message must be the "
                           "assistant's, and is continued");
    if (input->continues && n > 1 && strcmp(input->messages[n - 2].role, "assistant") == 0)
        return kl_api_fail(error, 400, "invalid_value", "messages",
                           "the last two messages are both the assistant's: which of them to "
                           "continue is not clear; join them");
    return KL_OK;
}

enum kl_status kl_prediction_field(const json_t *body, json_t *kept, const char **text, size_t *len,
                                   struct kl_api_error *error)
{
    const json_t *prediction = NULL;
    const char *type = NULL;
    struct parser p = {NULL, kept};
    struct kl_message content = {.role = "user"};
    if (kl_field_object(body, "prediction", &prediction, error) != KL_OK)
        return KL_ERR_INVALID;
    if (prediction == NULL)
        return KL_OK;
    if (kl_field_string(prediction, "type", &type, error) != KL_OK || type == NULL ||
        strcmp(type, "content") != 0)
        return kl_api_fail(error, 400, "invalid_value", "prediction.type",
                           "prediction.type must be \"content\"");
    enum kl_status status = parse_content(&p, prediction, "prediction", &content, error);
    if (status == KL_OK) {
        *text = content.content;
        *len = content.content_len;
    }
    return status;
}
