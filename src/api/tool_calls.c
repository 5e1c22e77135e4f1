#include "api/tool_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "api/rule_fields.h"
#include "api/tool_schema.h"
#include "grammar/calls_rule.h"
#include "schema/schema.h"
#include "json/json_limits.h"
#include "json/json_memory.h"

/* Texts of JSON as models know it: the separators of Python's json.dumps, as in the templates'
 * tojson; with 15 digits, every short decimal is written as it was read. */
#define LIKE_PYTHON (JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))

/* ---- the list -------------------------------------------------------------------------------- */

enum kl_status kl_tools_add(struct kl_tools *tools, const struct kl_tool *tool,
                            struct kl_api_error *error)
{
    if (tools->n == KL_MAX_TOOLS)
        return kl_api_fail(error, 400, "invalid_value", tools->field,
                           "%s may have at most %d entries", tools->field, KL_MAX_TOOLS);
    if (tool->name == NULL || tool->name[0] == '\0')
        return kl_api_fail(error, 400, "invalid_value", tools->field,
                           "%s[%zu] must be an object with \"type\": \"function\" and a function "
                           "that has a name",
                           tools->field, tools->n);
    if (strlen(tool->name) > KL_CALL_NAME_MAX)
        return kl_api_fail(error, 400, "invalid_value", tools->field,
                           "%s[%zu]: its name may have at most %d bytes, it has %zu", tools->field,
                           tools->n, KL_CALL_NAME_MAX, strlen(tool->name));
    struct kl_tool *added = &tools->list[tools->n];
    *added = *tool;
    if (json_is_null(added->parameters))
        added->parameters = NULL;
    if (added->parameters != NULL && !json_is_object(added->parameters))
        return kl_api_fail(error, 400, "invalid_type", tools->field,
                           "%s[%zu].%s must be a JSON schema, an object, not %s", tools->field,
                           tools->n, tools->schema, kl_json_type_name(added->parameters));
    tools->n++;
    return KL_OK;
}

enum kl_status kl_tools_demand(struct kl_tools *tools, const char *name, const char *choice,
                               struct kl_api_error *error)
{
    bool is_there = false;
    for (size_t i = 0; i < tools->n; i++) {
        tools->list[i].is_hidden = strcmp(tools->list[i].name, name) != 0;
        is_there = is_there || !tools->list[i].is_hidden;
    }
    tools->mode = KL_TOOLS_REQUIRED;
    if (is_there)
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", choice,
                       "%s names \"%.60s\", which is not one of %s", choice, name, tools->field);
}

/* The object with the name of an entry: its member "function", or itself. */
static const json_t *function_of(const json_t *entry)
{
    const json_t *function = json_object_get(entry, "function");
    return json_is_object(function) ? function : entry;
}

/* A string without NUL bytes; else NULL. */
static const char *text_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL && strlen(text) == json_string_length(value) ? text : NULL;
}

enum kl_status kl_tools_read(const json_t *array, struct kl_tools *tools,
                             struct kl_api_error *error)
{
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)array, i, entry)
    {
        const json_t *function = function_of(entry);
        const char *type = json_string_value(json_object_get(entry, "type"));
        if (type != NULL && strcmp(type, "function") != 0)
            return kl_api_fail(error, 400, "unsupported", tools->field,
                               "%s[%zu] is of type \"%.40s\"; this server offers only functions, "
                               "which the client runs",
                               tools->field, i, type);
        const struct kl_tool tool = {.name = text_of(json_object_get(function, "name")),
                                     .description =
                                         text_of(json_object_get(function, "description")),
                                     .parameters = json_object_get(function, "parameters"),
                                     .source = function != entry ? entry : NULL};
        if (kl_tools_add(tools, &tool, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return KL_OK;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static enum kl_status no_choice(struct kl_api_error *error)
{
    return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                       "tool_choice must be \"auto\", \"none\", \"required\", {\"type\": "
                       "\"function\", \"function\": {\"name\": \"...\"}} or {\"type\": "
                       "\"allowed_tools\", \"allowed_tools\": {\"mode\": \"auto\" or \"required\", "
                       "\"tools\": [...]}}");
}

/* {"mode": ..., "tools": [...]}: the other tools may not be called. */
static enum kl_status read_allowed(const json_t *allowed, struct kl_tools *tools,
                                   struct kl_api_error *error)
{
    const char *mode = json_string_value(json_object_get(allowed, "mode"));
    const json_t *list = json_object_get(allowed, "tools");
    if (mode == NULL || !json_is_array(list) || json_array_size(list) == 0)
        return no_choice(error);
    if (strcmp(mode, "required") == 0)
        tools->mode = KL_TOOLS_REQUIRED;
    else if (strcmp(mode, "auto") != 0)
        return no_choice(error);
    for (size_t i = 0; i < tools->n; i++)
        tools->list[i].is_hidden = true;
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)list, i, entry)
    {
        const char *name = json_string_value(json_object_get(function_of(entry), "name"));
        bool is_there = false;
        for (size_t k = 0; k < tools->n && name != NULL; k++) {
            bool is_it = strcmp(tools->list[k].name, name) == 0;
            tools->list[k].is_hidden = tools->list[k].is_hidden && !is_it;
            is_there = is_there || is_it;
        }
        if (!is_there)
            return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                               "tool_choice.allowed_tools.tools[%zu] names \"%.60s\", which is not "
                               "one of %s",
                               i, name != NULL ? name : "", tools->field);
    }
    return KL_OK;
}

enum kl_status kl_tools_read_choice(const json_t *choice, struct kl_tools *tools,
                                    struct kl_api_error *error)
{
    if (choice == NULL || json_is_null(choice))
        return KL_OK;
    /* some clients send {"type": "auto"} */
    const char *word =
        json_string_value(json_is_object(choice) ? json_object_get(choice, "type") : choice);
    const char *name = text_of(json_object_get(function_of(choice), "name"));
    const json_t *allowed = json_object_get(choice, "allowed_tools");
    if (word == NULL)
        return no_choice(error);
    if (strcmp(word, "auto") == 0)
        return KL_OK;
    if (strcmp(word, "none") == 0)
        tools->mode = KL_TOOLS_NONE;
    else if (strcmp(word, "required") == 0 || strcmp(word, "any") == 0)
        tools->mode = KL_TOOLS_REQUIRED;
    else if (strcmp(word, "function") == 0 && name != NULL)
        return kl_tools_demand(tools, name, "tool_choice", error);
    else if (strcmp(word, "allowed_tools") == 0)
        return read_allowed(json_is_object(allowed) ? allowed : choice, tools, error);
    else
        return no_choice(error);
    if (tools->mode == KL_TOOLS_REQUIRED && tools->n == 0)
        return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                           "tool_choice is \"%s\", but there are no tools", word);
    return KL_OK;
}

enum kl_status kl_tools_read_parallel(const json_t *body, struct kl_tools *tools,
                                      struct kl_api_error *error)
{
    bool parallel = tools->mode != KL_TOOLS_REQUIRED;
    if (kl_field_bool(body, "parallel_tool_calls", &parallel, error) != KL_OK)
        return KL_ERR_INVALID;
    tools->is_single = !parallel;
    return KL_OK;
}

enum kl_status kl_tools_read_function_call(const json_t *choice, struct kl_tools *tools,
                                           struct kl_api_error *error)
{
    const char *word = json_string_value(choice), *name = text_of(json_object_get(choice, "name"));
    if (choice == NULL || json_is_null(choice) || (word != NULL && strcmp(word, "auto") == 0))
        return KL_OK;
    if (name != NULL)
        return kl_tools_demand(tools, name, "function_call", error);
    if (word == NULL || strcmp(word, "none") != 0)
        return kl_api_fail(error, 400, "invalid_value", "function_call",
                           "function_call must be \"auto\", \"none\" or {\"name\": \"...\"}");
    tools->mode = KL_TOOLS_NONE;
    return KL_OK;
}

/* ---- the prompt ------------------------------------------------------------------------------ */

static const char *keep(struct kl_generation_request *r, json_t *value)
{
    if (value == NULL || json_array_append_new(r->source, value) != 0)
        return NULL;
    return json_string_value(value);
}

/* The text of a value, kept with the request; NULL: no memory. */
static const char *keep_dump(struct kl_generation_request *r, const json_t *value)
{
    char *text = json_dumps(value, LIKE_PYTHON);
    const char *kept = text != NULL ? keep(r, json_string(text)) : NULL;
    free(text);
    return kept;
}

/* Fills input.tools: each tool in OpenAI's form. */
static enum kl_status describe(const struct kl_tools *tools, struct kl_generation_request *r)
{
    const char **texts = calloc(tools->n + 1, sizeof *texts);
    free(r->input.tools);
    r->input.tools = texts;
    r->input.n_tools = 0;
    for (size_t i = 0; i < tools->n && texts != NULL; i++) {
        const struct kl_tool *tool = &tools->list[i];
        json_t *made = NULL;
        if (tool->source == NULL)
            made = json_pack("{s:s, s:{s:s, s:s*, s:O*}}", "type", "function", "function", "name",
                             tool->name, "description", tool->description, "parameters",
                             tool->parameters);
        texts[i] = keep_dump(r, made != NULL ? made : tool->source);
        json_decref(made);
        if (texts[i] == NULL)
            return KL_ERR_MEMORY;
        r->input.n_tools++;
    }
    return texts != NULL ? KL_OK : KL_ERR_MEMORY;
}

/* ---- as the model writes a call -------------------------------------------------------------- */

static bool is_bare(const struct kl_generation_request *r)
{
    return r->chat_template != NULL && kl_chat_template_has(r->chat_template, KL_CHAT_BARE_CALLS);
}

static const char *arguments_key(const struct kl_generation_request *r)
{
    return is_bare(r) ? "parameters" : "arguments";
}

/* ---- the rule of one call -------------------------------------------------------------------- */

/* Finds the tool whose schema was refused, and says where. */
static enum kl_status blame(const struct kl_tools *tools, const struct kl_error *all,
                            struct kl_api_error *error)
{
    for (size_t i = 0; i < tools->n && all->status != KL_ERR_BUSY; i++) {
        struct kl_rule *rule = NULL;
        struct kl_error err;
        char where[96];
        snprintf(where, sizeof where, "%s[%zu].%s", tools->field, i, tools->schema);
        json_t *schema = kl_tool_arguments(&tools->list[i], i);
        enum kl_status status = schema == NULL ? kl_fail_memory(&err, "a schema", 0)
                                               : kl_rule_of_schema(schema, &rule, &err);
        json_decref(schema);
        kl_rule_disown(rule);
        if (status != KL_OK)
            return kl_rule_refuse(tools->field, where, &err, error);
    }
    return kl_rule_refuse(tools->field, tools->field, all, error);
}

/* Makes the rule of a call of one of the tools that may be called. */
static enum kl_status compile_call(const struct kl_tools *tools, struct kl_generation_request *r,
                                   struct kl_rule **rule, struct kl_api_error *error)
{
    struct kl_error err;
    json_t *schemas = json_array();
    bool is_short = schemas == NULL;
    for (size_t i = 0; i < tools->n; i++) {
        const struct kl_tool *tool = &tools->list[i];
        if (!kl_type_allows_object(json_object_get(tool->parameters, "type"))) {
            json_decref(schemas);
            return kl_api_fail(error, 400, "invalid_value", tools->field,
                               "%s[%zu].%s must have \"type\": \"object\", since arguments are an "
                               "object",
                               tools->field, i, tools->schema);
        }
        if (!tool->is_hidden)
            is_short =
                json_array_append_new(schemas, kl_tool_call(tool, i, arguments_key(r))) != 0 ||
                is_short;
    }
    json_t *any = is_short ? NULL : json_pack("{s:O}", "anyOf", schemas);
    enum kl_status status = any == NULL
                                ? kl_api_fail_memory(error, "the tools")
                                : kl_rule_get("call", kl_rule_of_schema, any, r->rules, rule, &err);
    if (any != NULL && status != KL_OK)
        status = blame(tools, &err, error);
    json_decref(any);
    json_decref(schemas);
    return status;
}

/* ---- calls that were made -------------------------------------------------------------------- */

/* Puts the members of the arguments into the order in which the rule writes them. */
static json_t *in_order(const json_t *arguments, const json_t *properties)
{
    json_t *sorted = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)properties, key, value)
    {
        json_t *argument = json_object_get(arguments, key);
        if (argument != NULL)
            json_object_set(sorted, key, argument);
    }
    json_object_foreach((json_t *)arguments, key, value)
    {
        if (json_object_get(sorted, key) == NULL)
            json_object_set(sorted, key, value);
    }
    return sorted;
}

/* The text of a call as the rule writes it; NULL: it is no call of a tool. */
static const char *call_text(const struct kl_tools *tools, struct kl_generation_request *r,
                             const struct kl_tool_call *call)
{
    size_t i = 0, len = strlen(call->arguments);
    while (i < tools->n && strcmp(tools->list[i].name, call->name) != 0)
        i++;
    if (i == tools->n || kl_json_check_limits(call->arguments, len, KL_JSON_MAX_DEPTH,
                                              KL_JSON_MAX_NODES, NULL) != KL_OK)
        return NULL;
    json_t *arguments = kl_json_load(call->arguments, len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(arguments)) {
        json_decref(arguments);
        return NULL;
    }
    json_t *sorted = in_order(arguments, json_object_get(tools->list[i].parameters, "properties"));
    json_t *whole = json_pack("{s:s, s:o}", "name", call->name, arguments_key(r), sorted);
    const char *text = whole != NULL ? keep_dump(r, whole) : NULL;
    json_decref(whole);
    json_decref(arguments);
    return text;
}

/* The index of the first message behind the last one of the user. */
static size_t behind_user(const struct kl_chat_input *input)
{
    size_t first = input->n_messages;
    while (first > 0 && strcmp(input->messages[first - 1].role, "user") != 0)
        first--;
    return first;
}

/* How many messages since the last one of the user call a tool. */
static size_t count_calls(const struct kl_chat_input *input, const char *name)
{
    size_t n = 0;
    for (size_t i = behind_user(input); i < input->n_messages; i++) {
        const struct kl_message *m = &input->messages[i];
        size_t k = 0;
        while (k < m->n_tool_calls && strcmp(m->tool_calls[k].name, name) != 0)
            k++;
        n += k < m->n_tool_calls;
    }
    return n;
}

/* Whether the answer is to be a text: results have just come, and the model has called every tool
 * for them, or one of them twice. Small models would go on for ever, with the same call, or one in
 * which a byte is different where the same one is excluded. The prompt still has the tools: it is
 * the longest part that the prefix cache has. */
static bool calls_are_over(const struct kl_tools *tools, const struct kl_chat_input *input)
{
    size_t n = input->n_messages, n_offered = 0, n_called = 0;
    if (tools->mode != KL_TOOLS_AUTO || n == 0 || strcmp(input->messages[n - 1].role, "tool") != 0)
        return false;
    for (size_t i = 0; i < tools->n; i++) {
        if (tools->list[i].is_hidden)
            continue;
        size_t n_calls = count_calls(input, tools->list[i].name);
        if (n_calls > 1)
            return true;
        n_offered++;
        n_called += n_calls;
    }
    return n_called == n_offered;
}

/* Finds the calls since the last message of the user whose results are there. */
static size_t find_done(const struct kl_tools *tools, struct kl_generation_request *r,
                        const char *done[KL_CALLS_MAX_EXCLUDED])
{
    const struct kl_chat_input *input = &r->input;
    size_t n = 0;
    for (size_t i = behind_user(input); i < input->n_messages; i++) {
        const struct kl_message *m = &input->messages[i];
        size_t n_results = 0;
        while (i + 1 + n_results < input->n_messages && strcmp(m[1 + n_results].role, "tool") == 0)
            n_results++;
        for (size_t k = 0; k < m->n_tool_calls && k < n_results; k++) {
            const char *text = call_text(tools, r, &m->tool_calls[k]);
            if (text == NULL)
                continue;
            if (n == KL_CALLS_MAX_EXCLUDED) /* the latest ones */
                memmove(done, done + 1, --n * sizeof *done);
            done[n++] = text;
        }
    }
    return n;
}

/* ---- the request ----------------------------------------------------------------------------- */

/* Puts the rule of the answer around that of a call; takes the share of call. */
static enum kl_status make_rule(const struct kl_tools *tools, struct kl_rule *call,
                                const char *const *names, size_t n, struct kl_generation_request *r,
                                struct kl_api_error *error)
{
    const char *done[KL_CALLS_MAX_EXCLUDED], *quoted[KL_MAX_TOOLS];
    struct kl_rule *rule = NULL;
    struct kl_error err;
    bool is_short = false;
    for (size_t i = 0; i < n; i++) {
        json_t *name = json_string(names[i]);
        quoted[i] = name != NULL ? keep_dump(r, name) : NULL;
        json_decref(name);
        is_short = is_short || quoted[i] == NULL;
    }
    const struct kl_calls calls = {.call = call,
                                   .names = quoted,
                                   .n_names = n,
                                   .excluded = done,
                                   .n_excluded = find_done(tools, r, done),
                                   .is_demanded = tools->mode == KL_TOOLS_REQUIRED,
                                   .is_single = tools->is_single || is_bare(r),
                                   .is_bare = is_bare(r),
                                   .is_over = calls_are_over(tools, &r->input),
                                   .otherwise = r->rule};
    enum kl_status status = KL_OK;
    if (is_short || kl_json_was_short())
        status = kl_api_fail_memory(error, "the tools");
    else if (kl_calls_rule(&calls, &rule, &err) != KL_OK)
        status = kl_rule_refuse(tools->field, tools->field, &err, error);
    kl_rule_disown(call);
    if (status != KL_OK)
        return status;
    kl_rule_disown(r->rule);
    r->rule = rule;
    return KL_OK;
}

enum kl_status kl_tools_apply(const struct kl_tools *tools, struct kl_generation_request *r,
                              struct kl_api_error *error)
{
    const char *names[KL_MAX_TOOLS];
    size_t n = 0;
    struct kl_rule *call = NULL;
    if (tools->n == 0 || tools->mode == KL_TOOLS_NONE)
        return KL_OK;
    bool is_demanded = tools->mode == KL_TOOLS_REQUIRED;
    /* a format is that of texts; programs send it along (instructor with Responses) */
    if (is_demanded && r->rule != NULL && strcmp(r->rule_field, "response_format") != 0)
        return kl_api_fail(error, 400, "invalid_value", "tool_choice",
                           "%s and tool_choice both give a rule for the answer; leave one of them "
                           "out",
                           r->rule_field);
    if (is_demanded && kl_rule_without_thoughts("tool_choice", r, error) != KL_OK)
        return KL_ERR_INVALID;
    if (describe(tools, r) != KL_OK)
        return kl_api_fail_memory(error, "the tools");
    for (size_t i = 0; i < tools->n; i++)
        if (!tools->list[i].is_hidden)
            names[n++] = tools->list[i].name;
    r->call_names = kl_call_names_new(names, calls_are_over(tools, &r->input) ? 0 : n);
    if (r->call_names == NULL)
        return kl_api_fail_memory(error, "the tools");
    enum kl_status status = compile_call(tools, r, &call, error);
    return status == KL_OK ? make_rule(tools, call, names, n, r, error) : status;
}
