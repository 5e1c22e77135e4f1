#include "api/tool_schema.h"

#include <stdio.h>
#include <string.h>

/* Whether a schema allows arrays only, and an enum has none. */
static bool has_enum_of_items(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum");
    size_t i;
    json_t *value;
    if (!json_is_string(type) || strcmp(json_string_value(type), "array") != 0 ||
        json_array_size(values) == 0)
        return false;
    json_array_foreach((json_t *)values, i, value)
    {
        if (json_is_array(value))
            return false;
    }
    return true;
}

/* Returns a copy of such a schema whose enum is that of its items; NULL: no memory. */
static json_t *with_enum_in_items(const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    json_t *changed = json_copy((json_t *)schema);
    json_t *inner = json_is_object(items) ? json_copy((json_t *)items) : json_object();
    if (json_object_set(inner, "enum", json_object_get(schema, "enum")) != 0 ||
        json_object_set(changed, "items", inner) != 0) {
        json_decref(changed);
        changed = NULL;
    } else {
        json_object_del(changed, "enum");
    }
    json_decref(inner);
    return changed;
}

/* Returns the properties to use: these, or a mended copy; NULL: no memory. */
static json_t *mended(json_t *properties)
{
    json_t *result = json_incref(properties), *property;
    const char *key;
    json_object_foreach(properties, key, property)
    {
        if (!has_enum_of_items(property))
            continue;
        if (result == properties) {
            json_decref(result);
            result = json_copy(properties);
        }
        if (json_object_set_new(result, key, with_enum_in_items(property)) != 0) {
            json_decref(result);
            return NULL;
        }
    }
    return result;
}

json_t *kl_tool_arguments(const struct kl_tool *tool, size_t i)
{
    if (tool->parameters == NULL)
        return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties",
                         0);
    json_t *schema = json_copy((json_t *)tool->parameters);
    json_t *properties = json_object_get(schema, "properties");
    char id[40];
    snprintf(id, sizeof id, "urn:kinglet:tool:%zu", i);
    bool is_made = json_object_set_new(schema, "type", json_string("object")) == 0;
    if (json_object_get(schema, "$id") == NULL)
        is_made = json_object_set_new(schema, "$id", json_string(id)) == 0 && is_made;
    if (json_is_object(properties))
        is_made = json_object_set_new(schema, "properties", mended(properties)) == 0 && is_made;
    if (!is_made) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

json_t *kl_tool_call(const struct kl_tool *tool, size_t i, const char *key)
{
    return json_pack("{s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "properties",
                     "name", "const", tool->name, key, kl_tool_arguments(tool, i), "required",
                     "name", key, "additionalProperties", 0);
}

bool kl_type_allows_object(const json_t *type)
{
    size_t i;
    json_t *one;
    if (!json_is_array(type))
        return !json_is_string(type) || strcmp(json_string_value(type), "object") == 0;
    json_array_foreach((json_t *)type, i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), "object") == 0)
            return true;
    }
    return false;
}
