#include "api/fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json/json_limits.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"

const char *kl_json_type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

/* Returns the field's value, or NULL when it is absent or null. */
static const json_t *find(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static enum kl_status wrong_type(struct kl_api_error *error, const char *name, const char *expected,
                                 const json_t *found)
{
    return kl_api_fail(error, 400, "invalid_type", name, "%s must be %s, not %s", name, expected,
                       kl_json_type_name(found));
}

static enum kl_status parse_object(const char *data, size_t len, size_t max_numbers,
                                   json_t **object, struct kl_api_error *error)
{
    struct kl_error err;
    *object = NULL;
    if (len == 0)
        return kl_api_fail(error, 400, "invalid_json", NULL,
                           "the request has no body; a JSON object was expected");
    if (kl_json_check_limits_apart(data, len, KL_JSON_MAX_DEPTH, KL_JSON_MAX_NODES, max_numbers,
                                   &err) != KL_OK)
        return kl_api_fail(error, 400, "invalid_json", NULL, "%s", err.text);

    json_error_t json_error;
    json_t *root = kl_json_read(data, len, &json_error);
    if (kl_json_was_short())
        return kl_api_fail_memory(error, "the request");
    if (root == NULL)
        return kl_api_fail(error, 400, "invalid_json", NULL,
                           "the body is not valid JSON: %s (line %d, column %d)", json_error.text,
                           json_error.line, json_error.column);
    if (!json_is_object(root)) {
        kl_api_fail(error, 400, "invalid_json", NULL, "the body must be a JSON object, not %s",
                    kl_json_type_name(root));
        json_decref(root);
        return KL_ERR_INVALID;
    }
    *object = root;
    return KL_OK;
}

enum kl_status kl_parse_object(const char *data, size_t len, json_t **object,
                               struct kl_api_error *error)
{
    return parse_object(data, len, 0, object, error);
}

enum kl_status kl_parse_object_of_numbers(const char *data, size_t len, json_t **object,
                                          struct kl_api_error *error)
{
    return parse_object(data, len, KL_JSON_MAX_NUMBERS, object, error);
}

enum kl_status kl_field_int(const json_t *object, const char *name, int64_t lo, int64_t hi,
                            int64_t *value, struct kl_api_error *error)
{
    const json_t *found = find(object, name);
    if (found == NULL)
        return KL_OK;
    if (!json_is_number(found))
        return wrong_type(error, name, "an integer", found);

    int64_t integer;
    if (json_is_integer(found)) {
        integer = json_integer_value(found);
    } else {
        double real = json_real_value(found);
        if (floor(real) != real)
            return kl_api_fail(error, 400, "invalid_type", name, "%s must be an integer, not %g",
                               name, real);
        /* a number beyond 64 bits is out of any range; jansson parses large integers as reals */
        if (!(real > -0x1p63 && real < 0x1p63))
            return kl_api_fail(error, 400, "invalid_value", name,
                               "%s must be between %" PRId64 " and %" PRId64 ", not %g", name, lo,
                               hi, real);
        integer = (int64_t)real;
    }
    if (integer < lo || integer > hi)
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s must be between %" PRId64 " and %" PRId64 ", not %" PRId64, name, lo,
                           hi, integer);
    *value = integer;
    return KL_OK;
}

enum kl_status kl_field_number(const json_t *object, const char *name, double lo, double hi,
                               double *value, struct kl_api_error *error)
{
    const json_t *found = find(object, name);
    if (found == NULL)
        return KL_OK;
    if (!json_is_number(found))
        return wrong_type(error, name, "a number", found);
    double number = json_number_value(found);
    if (!(number >= lo && number <= hi))
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s must be between %g and %g, not %g", name, lo, hi, number);
    *value = number;
    return KL_OK;
}

enum kl_status kl_field_bool(const json_t *object, const char *name, bool *value,
                             struct kl_api_error *error)
{
    const json_t *found = find(object, name);
    if (found == NULL)
        return KL_OK;
    if (!json_is_boolean(found))
        return wrong_type(error, name, "true or false", found);
    *value = json_is_true(found);
    return KL_OK;
}

enum kl_status kl_field_string(const json_t *object, const char *name, const char **value,
                               struct kl_api_error *error)
{
    const json_t *found = find(object, name);
    if (found == NULL)
        return KL_OK;
    if (!json_is_string(found))
        return wrong_type(error, name, "a string", found);
    const char *text = json_string_value(found);
    if (strlen(text) != json_string_length(found))
        return kl_api_fail(error, 400, "invalid_value", name, "%s must not contain a NUL character",
                           name);
    *value = text;
    return KL_OK;
}

enum kl_status kl_field_object(const json_t *object, const char *name, const json_t **value,
                               struct kl_api_error *error)
{
    const json_t *found = find(object, name);
    if (found != NULL && !json_is_object(found))
        return wrong_type(error, name, "an object", found);
    *value = found != NULL ? found : *value;
    return KL_OK;
}

enum kl_status kl_field_array(const json_t *object, const char *name, const json_t **value,
                              struct kl_api_error *error)
{
    const json_t *found = find(object, name);
    if (found != NULL && !json_is_array(found))
        return wrong_type(error, name, "an array", found);
    *value = found != NULL ? found : *value;
    return KL_OK;
}

void kl_rename_field(struct kl_api_error *error, const char *from, const char *to)
{
    char text[sizeof error->text];
    size_t n = strlen(from);
    if (strcmp(error->param, from) == 0)
        snprintf(error->param, sizeof error->param, "%s", to);
    if (strncmp(error->text, from, n) != 0)
        return;
    snprintf(text, sizeof text, "%.40s%.470s", to, error->text + n);
    memcpy(error->text, text, sizeof text);
}
