#include "api/tool_calls.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "grammar/wrapped_rule.h"
#include "json/json_text.h"

#define BEFORE    "<tool_call>\n"
#define NAME      "{\"name\": "
#define ARGUMENTS ", \"arguments\": "
#define BEHIND    "\n</tool_call>"

/* ---- tool_choice ----------------------------------------------------------------------------- */

/* Returns the schema of the arguments of a tool. References in it are to itself, so it is made a
 * schema with an id of its own. */
static json_t *arguments_schema(const json_t *function, size_t i)
{
    const json_t *given = json_object_get(function, "parameters");
    if (!json_is_object(given))
        return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties",
                         0);
    json_t *schema = json_copy((json_t *)given);
    char id[40];
    snprintf(id, sizeof id, "urn:kinglet:tool:%zu", i);
    if (json_object_get(schema, "$id") == NULL)
        json_object_set_new(schema, "$id", json_string(id));
    if (json_object_get(schema, "type") == NULL)
        json_object_set_new(schema, "type", json_string("object"));
    return schema;
}

/* Appends the schema of a call. */
static int add_call(json_t *schemas, const json_t *function, size_t i)
{
    json_t *call = json_pack("{s:s, s:{s:{s:O}, s:o}, s:[s, s], s:b}", "type", "object",
                             "properties", "name", "const", json_object_get(function, "name"),
                             "arguments", arguments_schema(function, i), "required", "name",
                             "arguments", "additionalProperties", 0);
    return json_array_append_new(schemas, call);
}

/* Makes the schema of calls of the tool of that name, or of all tools. */
static enum kl_status make_calls(const json_t *tools, const char *name, json_t **calls,
                                 struct kl_api_error *error)
{
    json_t *schemas = json_array(), *tool;
    size_t i;
    bool short_of_memory = schemas == NULL;
    json_array_foreach((json_t *)tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function");
        const char *its_name = json_string_value(json_object_get(function, "name"));
        if (its_name != NULL && (name == NULL || strcmp(its_name, name) == 0))
            short_of_memory = add_call(schemas, function, i) != 0 || short_of_memory;
    }
    enum kl_status status = KL_OK;
    if (short_of_memory)
        status = kl_api_fail_memory(error, "the tools");
    else if (json_array_size(schemas) > 0)
        *calls = json_pack("{s:O}", "anyOf", schemas);
    else if (name != NULL)
        status = kl_api_fail(error, 400, "invalid_value", "tool_choice",
                             "tool_choice names \"%.60s\", which is not one of tools", name);
    else
        status = kl_api_fail(error, 400, "invalid_value", "tool_choice",
                             "tool_choice is \"required\", but there are no tools");
    json_decref(schemas);
    if (status == KL_OK && *calls == NULL)
        status = kl_api_fail_memory(error, "the tools");
    return status;
}

enum kl_status kl_tool_choice_field(const json_t *body, const json_t **tools, json_t **calls,
                                    struct kl_api_error *error)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    *calls = NULL;
    if (choice == NULL || json_is_null(choice))
        return KL_OK;
    /* some clients send {"type": "auto"} */
    const char *word =
        json_string_value(json_is_object(choice) ? json_object_get(choice, "type") : choice);
    const char *name =
        json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if (word == NULL)
        word = "";
    if (strcmp(word, "none") == 0)
        *tools = NULL;
    else if (strcmp(word, "required") == 0)
        return make_calls(*tools, NULL, calls, error);
    else if (strcmp(word, "function") == 0 && name != NULL)
        return make_calls(*tools, name, calls, error);
    else if (strcmp(word, "auto") != 0)
        return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                           "tool_choice must be \"auto\", \"none\", \"required\" or {\"type\": "
                           "\"function\", \"function\": {\"name\": \"...\"}}");
    return KL_OK;
}

enum kl_status kl_tool_call_rule(struct kl_rule *object, struct kl_rule **rule,
                                 struct kl_error *err)
{
    return kl_wrapped_rule(BEFORE, object, BEHIND, rule, err);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Advances *at past a fixed text; false: the answer is cut there. */
static bool skip(const char **at, const char *end, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(end - *at) < len || memcmp(*at, text, len) != 0)
        return false;
    *at += len;
    return true;
}

/* Reads a JSON string; NULL: it is cut. */
static json_t *read_string(const char **at, const char *end)
{
    const char *begin = *at, *close = begin + 1;
    while (close < end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (begin == end || close >= end)
        return NULL;
    *at = close + 1;
    return json_loadb(begin, (size_t)(*at - begin), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

json_t *kl_tool_calls_json(const struct kl_generation *g, size_t choice)
{
    const struct kl_buffer *text = &g->choices[choice].text;
    const char *at = text->len > 0 ? text->data : "", *end = at + text->len;
    if (!skip(&at, end, BEFORE NAME))
        return NULL;
    json_t *name = read_string(&at, end);
    if (name == NULL || !skip(&at, end, ARGUMENTS)) {
        json_decref(name);
        return NULL;
    }
    /* no string contains a line break as it is: the object ends before the first */
    const char *line_end = memchr(at, '\n', (size_t)(end - at));
    if (line_end != NULL)
        end = line_end - 1; /* the brace around name and arguments */
    char id[80];
    snprintf(id, sizeof id, "call_%s_%zu", g->exchange->id, choice);
    return json_pack("[{s:i, s:s, s:s, s:{s:o, s:o}}]", "index", 0, "id", id, "type", "function",
                     "function", "name", name, "arguments", kl_json_text(at, (size_t)(end - at)));
}
