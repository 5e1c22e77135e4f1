#include "api/rule_fields.h"

#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "grammar/gbnf.h"
#include "grammar/regex_rule.h"
#include "schema/schema.h"
#include "json/json_memory.h"

#define RETRY_SECONDS 2 /* until another answer is complete and its rule may be removed */

/* ---- compiling ------------------------------------------------------------------------------- */

/* A rule as it was asked for. */
struct source {
    const char *field; /* that gives it, static */
    const char *kind;  /* how `value` is compiled */
    kl_rule_compiler compile;
    const json_t *value;
};

enum kl_status kl_rule_of_schema(const json_t *value, struct kl_rule **rule, struct kl_error *err)
{
    return kl_schema_compile(value, KL_SCHEMA_ANSWER, rule, NULL, err);
}

static enum kl_status compile_object(const json_t *value, struct kl_rule **rule,
                                     struct kl_error *err)
{
    (void)value;
    return kl_schema_any(true, KL_SCHEMA_ANSWER, rule, err);
}

static enum kl_status compile_regex(const json_t *value, struct kl_rule **rule,
                                    struct kl_error *err)
{
    return kl_regex_rule(json_string_value(value), json_string_length(value), rule, err);
}

static enum kl_status compile_grammar(const json_t *value, struct kl_rule **rule,
                                      struct kl_error *err)
{
    return kl_gbnf_compile(json_string_value(value), json_string_length(value), rule, err);
}

static enum kl_status compile_choice(const json_t *value, struct kl_rule **rule,
                                     struct kl_error *err)
{
    size_t n = json_array_size(value);
    const char **texts = calloc(n + 1, sizeof *texts);
    if (texts == NULL)
        return kl_fail_memory(err, "a choice", n * sizeof *texts);
    for (size_t i = 0; i < n; i++)
        texts[i] = json_string_value(json_array_get(value, i));
    enum kl_status status = kl_choice_rule(texts, n, rule, err);
    free(texts);
    return status;
}

enum kl_status kl_rule_refuse(const char *field, const char *where, const struct kl_error *err,
                              struct kl_api_error *error)
{
    switch (err->status) {
    case KL_ERR_INVALID:
        return kl_api_fail(error, 400, "invalid_value", field, "%s: %s", where, err->text);
    case KL_ERR_UNSUPPORTED:
        return kl_api_fail(error, 400, "unsupported", field, "%s: %s", where, err->text);
    case KL_ERR_LIMIT:
        return kl_api_fail(error, 400, "rule_too_large", field, "%s: %s", where, err->text);
    case KL_ERR_BUSY:
        kl_api_fail(error, 429, "rules_full", field, "%s", err->text);
        error->retry_after = RETRY_SECONDS;
        return KL_ERR_INVALID;
    default:
        return kl_api_fail_internal(error, err);
    }
}

enum kl_status kl_rule_get(const char *kind, kl_rule_compiler compile, const json_t *value,
                           struct kl_rule_cache *rules, struct kl_rule **rule, struct kl_error *err)
{
    *rule = NULL;
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL || kl_json_was_short()) {
        free(text);
        return kl_fail_memory(err, "the text of a rule", 0);
    }
    struct kl_rule_key key = kl_rule_key(kind, text, strlen(text));
    free(text);
    if (rules != NULL)
        *rule = kl_rule_cache_find(rules, &key);
    if (*rule != NULL)
        return KL_OK;
    enum kl_status status = compile(value, rule, err);
    if (status == KL_OK && rules != NULL)
        status = kl_rule_cache_keep(rules, &key, *rule, err);
    if (status == KL_OK)
        return KL_OK;
    kl_rule_disown(*rule);
    *rule = NULL;
    return status;
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* Takes note of a rule; there must not be another one. */
static enum kl_status add(struct source *source, struct source found, struct kl_api_error *error)
{
    if (source->field != NULL)
        return kl_api_fail(error, 400, "invalid_value", found.field,
                           "%s and %s both give a rule for the answer; leave one of them out",
                           source->field, found.field);
    *source = found;
    return KL_OK;
}

static bool is_schema(const json_t *value)
{
    return json_is_object(value) || json_is_boolean(value);
}

static enum kl_status add_schema(struct source *source, const char *field, const char *name,
                                 const json_t *value, struct kl_api_error *error)
{
    if (value == NULL || !is_schema(value))
        return kl_api_fail(error, 400, "invalid_type", field,
                           "%s must be a JSON schema, an object, not %s", name,
                           value == NULL ? "absent" : kl_json_type_name(value));
    return add(source, (struct source){field, "schema", kl_rule_of_schema, value}, error);
}

/* {"type": "text"}, {"type": "json_object"} (with a schema, as llama-server has it), or {"type":
 * "json_schema", "json_schema": {"schema": ...}}; `name`, `description` and `strict` change
 * nothing. */
static enum kl_status read_response_format(const json_t *body, struct source *source,
                                           struct kl_api_error *error)
{
    const char *field = "response_format", *type = NULL;
    const json_t *format = NULL, *inner = NULL;
    if (kl_field_object(body, field, &format, error) != KL_OK)
        return KL_ERR_INVALID;
    if (format == NULL)
        return KL_OK;
    if (kl_field_string(format, "type", &type, error) != KL_OK || type == NULL)
        return kl_api_fail(error, 400, "invalid_value", field,
                           "response_format.type must be text, json_object or json_schema");
    if (strcmp(type, "text") == 0)
        return KL_OK;
    const json_t *schema = json_object_get(format, "schema");
    if (strcmp(type, "json_object") == 0) {
        if (schema != NULL && !json_is_null(schema))
            return add_schema(source, field, "response_format.schema", schema, error);
        return add(source, (struct source){field, "object", compile_object, json_true()}, error);
    }
    if (strcmp(type, "json_schema") != 0)
        return kl_api_fail(error, 400, "invalid_value", field,
                           "response_format.type is \"%.40s\"; it must be text, json_object or "
                           "json_schema",
                           type);
    if (kl_field_object(format, "json_schema", &inner, error) != KL_OK)
        return kl_api_fail(error, 400, "invalid_type", field,
                           "response_format.json_schema must be an object");
    if (inner != NULL)
        schema = json_object_get(inner, "schema");
    return add_schema(source, field, "response_format.json_schema.schema", schema, error);
}

/* Reads a field that is a string; "" is none, as for llama-server. */
static enum kl_status read_text(const json_t *body, struct source found, struct source *source,
                                struct kl_api_error *error)
{
    const json_t *value = json_object_get(body, found.field);
    if (value == NULL || json_is_null(value) ||
        (json_is_string(value) && json_string_length(value) == 0))
        return KL_OK;
    if (!json_is_string(value))
        return kl_api_fail(error, 400, "invalid_type", found.field, "%s must be a string, not %s",
                           found.field, kl_json_type_name(value));
    found.value = value;
    return add(source, found, error);
}

static enum kl_status read_choice(const json_t *body, struct source *source,
                                  struct kl_api_error *error)
{
    const json_t *choice = NULL, *text;
    size_t i;
    if (kl_field_array(body, "choice", &choice, error) != KL_OK)
        return KL_ERR_INVALID;
    if (choice == NULL)
        return KL_OK;
    json_array_foreach((json_t *)choice, i, text)
    {
        if (!json_is_string(text))
            return kl_api_fail(error, 400, "invalid_type", "choice",
                               "choice[%zu] must be a string, not %s", i, kl_json_type_name(text));
        if (strlen(json_string_value(text)) != json_string_length(text))
            return kl_api_fail(error, 400, "invalid_value", "choice",
                               "choice[%zu] must not contain a NUL character", i);
    }
    return add(source, (struct source){"choice", "choice", compile_choice, choice}, error);
}

static enum kl_status read_schema(const json_t *body, const char *field, struct source *source,
                                  struct kl_api_error *error)
{
    const json_t *value = json_object_get(body, field);
    if (value == NULL || json_is_null(value))
        return KL_OK;
    return add_schema(source, field, field, value, error);
}

/* ---- the rule -------------------------------------------------------------------------------- */

enum kl_status kl_rule_without_thoughts(const char *field, struct kl_generation_request *r,
                                        struct kl_api_error *error)
{
    if (r->input.thinking == KL_THINKING_ON)
        return kl_api_fail(error, 400, "unsupported", r->input.thinking_name,
                           "%s switches thinking on, but an answer that follows a rule (%s) cannot "
                           "begin with thoughts; leave one of them out",
                           r->input.thinking_name, field);
    if (r->input.thinking == KL_THINKING_NOT_SAID) {
        r->input.thinking = KL_THINKING_OFF;
        r->input.thinking_name = field;
    }
    return KL_OK;
}

static enum kl_status finish(const struct source *source, struct kl_generation_request *r,
                             struct kl_api_error *error)
{
    struct kl_error err;
    if (source->field == NULL)
        return KL_OK;
    if (kl_rule_without_thoughts(source->field, r, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status =
        kl_rule_get(source->kind, source->compile, source->value, r->rules, &r->rule, &err);
    r->rule_field = source->field;
    return status == KL_OK ? KL_OK : kl_rule_refuse(source->field, source->field, &err, error);
}

enum kl_status kl_rule_fields(const json_t *body, struct kl_generation_request *r,
                              struct kl_api_error *error)
{
    static const struct source grammar = {"grammar", "grammar", compile_grammar, NULL},
                               regex = {"regex", "regex", compile_regex, NULL};
    struct source source = {0};
    if (read_response_format(body, &source, error) != KL_OK ||
        read_schema(body, "json_schema", &source, error) != KL_OK ||
        read_text(body, grammar, &source, error) != KL_OK ||
        read_text(body, regex, &source, error) != KL_OK ||
        read_choice(body, &source, error) != KL_OK)
        return KL_ERR_INVALID;
    return finish(&source, r, error);
}

enum kl_status kl_rule_schema_field(const json_t *body, struct kl_generation_request *r,
                                    struct kl_api_error *error)
{
    struct source source = {0};
    enum kl_status status = read_schema(body, "schema", &source, error);
    return status == KL_OK ? finish(&source, r, error) : status;
}
