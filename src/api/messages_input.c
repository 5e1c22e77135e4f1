#include "api/messages_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/fields.h"

/* The longest name of a place: "messages[12345].content[12345].content[12345]". */
#define WHERE_SIZE 128

/* The messages being made of one message of the client. */
struct reader {
    json_t *out;
    const char *role;
    json_t *parts;   /* texts that no message has yet; NULL: none */
    json_t *calls;   /* of the assistant; NULL: none */
    json_t *thought; /* of the assistant, a string; NULL: none */
};

static enum kl_status no_memory(struct kl_api_error *error)
{
    return kl_api_fail_memory(error, "the conversation");
}

/* Appends value, stolen, to an array that is made for the first one. */
static enum kl_status append(json_t **array, json_t *value, struct kl_api_error *error)
{
    if (*array == NULL)
        *array = json_array();
    return json_array_append_new(*array, value) == 0 ? KL_OK : no_memory(error);
}

/* Appends a message of the texts and calls so far, if there are any. */
static enum kl_status flush(struct reader *r, struct kl_api_error *error)
{
    if (r->parts == NULL && r->calls == NULL) {
        json_decref(r->thought);
        r->thought = NULL;
        return KL_OK;
    }
    json_t *message = json_pack("{s:s, s:o?, s:o*, s:o*}", "role", r->role, "content", r->parts,
                                "tool_calls", r->calls, "reasoning_content", r->thought);
    r->parts = r->calls = r->thought = NULL;
    return json_array_append_new(r->out, message) == 0 ? KL_OK : no_memory(error);
}

static const char *type_of(const json_t *block)
{
    return json_string_value(json_object_get(block, "type"));
}

static enum kl_status add_text(json_t **parts, const json_t *block, const char *where,
                               struct kl_api_error *error)
{
    json_t *text = json_object_get(block, "text");
    if (json_is_string(text))
        return append(parts, json_pack("{s:s, s:O}", "type", "text", "text", text), error);
    return kl_api_fail(error, 400, "invalid_type", where, "%s.text must be a string", where);
}

static enum kl_status refuse(const json_t *block, const char *where, struct kl_api_error *error)
{
    const char *type = type_of(block);
    if (type == NULL)
        return kl_api_fail(error, 400, "invalid_value", where,
                           "%s must be an object with a \"type\", such as {\"type\": \"text\", "
                           "\"text\": \"...\"}",
                           where);
    return kl_api_fail(error, 400, "unsupported", where,
                       "%s is of type \"%.40s\"; this model reads only text (text, tool_use, "
                       "tool_result)",
                       where, type);
}

/* Returns the texts of a string or of blocks of text as parts, a new reference; NULL: *error is
 * set. */
static json_t *read_texts(const json_t *content, const char *where, struct kl_api_error *error)
{
    json_t *parts = json_array(), *block;
    size_t i;
    enum kl_status status = KL_OK;
    if (json_is_string(content)) {
        status = append(&parts, json_pack("{s:s, s:O}", "type", "text", "text", (json_t *)content),
                        error);
    } else if (content != NULL && !json_is_array(content) && !json_is_null(content)) {
        status = kl_api_fail(error, 400, "invalid_type", where,
                             "%s must be a string or an array of blocks, not %s", where,
                             kl_json_type_name(content));
    }
    json_array_foreach((json_t *)content, i, block)
    {
        char place[WHERE_SIZE];
        const char *type = type_of(block);
        snprintf(place, sizeof place, "%.60s[%zu]", where, i);
        if (status == KL_OK)
            status = type != NULL && strcmp(type, "text") == 0
                         ? add_text(&parts, block, place, error)
                         : refuse(block, place, error);
    }
    if (status == KL_OK && parts != NULL)
        return parts;
    if (status == KL_OK)
        no_memory(error);
    json_decref(parts);
    return NULL;
}

static enum kl_status add_use(struct reader *r, const json_t *block, const char *where,
                              struct kl_api_error *error)
{
    json_t *name = json_object_get(block, "name"), *input = json_object_get(block, "input");
    if (strcmp(r->role, "assistant") != 0)
        return kl_api_fail(error, 400, "invalid_value", where,
                           "%s: only messages of the assistant have tool_use", where);
    if (!json_is_string(name) || !json_is_object(input))
        return kl_api_fail(error, 400, "invalid_value", where,
                           "%s must have a name, a string, and an input, an object", where);
    return append(&r->calls,
                  json_pack("{s:O*, s:s, s:{s:O, s:O}}", "id", json_object_get(block, "id"), "type",
                            "function", "function", "name", name, "arguments", input),
                  error);
}

/* Whether the first text says that it is an error. */
static bool says_error(const json_t *parts)
{
    const char *text = json_string_value(json_object_get(json_array_get(parts, 0), "text"));
    return text != NULL && strncasecmp(text, "error", 5) == 0;
}

static enum kl_status add_result(struct reader *r, const json_t *block, const char *where,
                                 struct kl_api_error *error)
{
    char place[WHERE_SIZE];
    bool is_error = false;
    if (strcmp(r->role, "user") != 0)
        return kl_api_fail(error, 400, "invalid_value", where,
                           "%s: only messages of the user have tool_result", where);
    if (kl_field_bool(block, "is_error", &is_error, error) != KL_OK || flush(r, error) != KL_OK)
        return KL_ERR_INVALID;
    snprintf(place, sizeof place, "%.70s.content", where);
    json_t *parts = read_texts(json_object_get(block, "content"), place, error);
    if (parts == NULL)
        return KL_ERR_INVALID;
    if (is_error && !says_error(parts) &&
        json_array_insert_new(parts, 0,
                              json_pack("{s:s, s:s}", "type", "text", "text", "Error:")) != 0) {
        json_decref(parts);
        return no_memory(error);
    }
    json_t *message = json_pack("{s:s, s:o, s:O*}", "role", "tool", "content", parts,
                                "tool_call_id", json_object_get(block, "tool_use_id"));
    return json_array_append_new(r->out, message) == 0 ? KL_OK : no_memory(error);
}

/* Keeps the thought of a message; of several, the last one. */
static enum kl_status add_thought(struct reader *r, const json_t *block, const char *where,
                                  struct kl_api_error *error)
{
    json_t *thought = json_object_get(block, "thinking");
    if (!json_is_string(thought))
        return kl_api_fail(error, 400, "invalid_type", where, "%s.thinking must be a string",
                           where);
    if (strcmp(r->role, "assistant") == 0) {
        json_decref(r->thought);
        r->thought = json_incref(thought);
    }
    return KL_OK;
}

static enum kl_status read_block(struct reader *r, const json_t *block, const char *where,
                                 struct kl_api_error *error)
{
    const char *type = type_of(block);
    if (type == NULL)
        return refuse(block, where, error);
    if (strcmp(type, "text") == 0)
        return add_text(&r->parts, block, where, error);
    if (strcmp(type, "tool_use") == 0)
        return add_use(r, block, where, error);
    if (strcmp(type, "tool_result") == 0)
        return add_result(r, block, where, error);
    if (strcmp(type, "thinking") == 0)
        return add_thought(r, block, where, error);
    if (strcmp(type, "redacted_thinking") == 0)
        return KL_OK;
    return refuse(block, where, error);
}

static enum kl_status read_message(struct reader *r, const json_t *message, const char *where,
                                   struct kl_api_error *error)
{
    const json_t *content = json_object_get(message, "content"), *block;
    const char *role = json_string_value(json_object_get(message, "role"));
    char place[WHERE_SIZE];
    size_t i;
    if (!json_is_object(message))
        return kl_api_fail(error, 400, "invalid_type", where, "%s must be an object, not %s", where,
                           kl_json_type_name(message));
    snprintf(place, sizeof place, "%.60s.role", where);
    if (role == NULL || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
        return kl_api_fail(
            error, 400, "invalid_value", place, "%s must be user or assistant%s%.40s%s", place,
            role != NULL ? ", not \"" : "", role != NULL ? role : "", role != NULL ? "\"" : "");
    snprintf(place, sizeof place, "%.60s.content", where);
    r->role = role;
    if (json_is_string(content)) {
        json_t *whole = json_pack("{s:s, s:O}", "role", role, "content", (json_t *)content);
        return json_array_append_new(r->out, whole) == 0 ? KL_OK : no_memory(error);
    }
    if (!json_is_array(content))
        return kl_api_fail(error, 400, "invalid_type", place,
                           "%s must be a string or an array of blocks, not %s", place,
                           content != NULL ? kl_json_type_name(content) : "absent");
    json_array_foreach((json_t *)content, i, block)
    {
        char at[WHERE_SIZE];
        snprintf(at, sizeof at, "%.50s[%zu]", place, i);
        if (read_block(r, block, at, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return flush(r, error);
}

enum kl_status kl_messages_input(const json_t *system, const json_t *messages, json_t *out,
                                 struct kl_api_error *error)
{
    struct reader r = {.out = out};
    enum kl_status status = KL_OK;
    const json_t *message;
    size_t i;
    if (system != NULL && !json_is_null(system)) {
        json_t *parts = read_texts(system, "system", error);
        if (parts == NULL)
            return KL_ERR_INVALID;
        if (json_array_append_new(out,
                                  json_pack("{s:s, s:o}", "role", "system", "content", parts)) != 0)
            return no_memory(error);
    }
    json_array_foreach((json_t *)messages, i, message)
    {
        char where[WHERE_SIZE];
        snprintf(where, sizeof where, "messages[%zu]", i);
        if (status == KL_OK)
            status = read_message(&r, message, where, error);
    }
    json_decref(r.parts);
    json_decref(r.calls);
    json_decref(r.thought);
    return status;
}
