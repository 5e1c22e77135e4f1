#include "graph_judge.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_numbers.h"

static bool node_allows(const struct kl_schema_graph *graph, int32_t node, const json_t *value);

static bool is_match(const struct kl_regex *regex, const char *text, size_t len)
{
    struct kl_regex_run *run;
    assert(kl_regex_run_open(regex, &run, NULL) == KL_OK);
    uint32_t state = kl_regex_run_start(run);
    for (size_t i = 0; i < len; i++)
        state = kl_regex_run_step(run, state, (uint8_t)text[i]);
    bool accepts = state != KL_REGEX_DEAD && kl_regex_run_accepts(run, state);
    assert(kl_regex_run_failure(run) == KL_OK);
    kl_regex_run_close(run);
    return accepts;
}

static void number_text(const json_t *value, char text[40])
{
    if (json_is_integer(value)) {
        snprintf(text, 40, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, json_real_value(value));
        if (strtod(text, NULL) == json_real_value(value))
            break;
    }
    if (strpbrk(text, ".e") == NULL)
        strcat(text, ".0");
}

static bool is_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        bool equal = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; equal && i < json_array_size(a); i++)
            equal = is_equal(json_array_get(a, i), json_array_get(b, i));
        return equal;
    }
    if (json_is_object(a)) {
        const char *key;
        json_t *member;
        if (json_object_size(a) != json_object_size(b))
            return false;
        json_object_foreach((json_t *)a, key, member)
        {
            const json_t *other = json_object_get(b, key);
            if (other == NULL || !is_equal(member, other))
                return false;
        }
        return true;
    }
    return json_equal(a, b);
}

static bool allows_string(const struct kl_schema_graph *graph, const struct kl_schema_node *node,
                          const char *text, size_t len)
{
    size_t length = 0;
    if ((node->types & KL_JSON_STRING) == 0)
        return false;
    for (size_t i = 0; i < len; i++)
        length += ((uint8_t)text[i] & 0xC0) != 0x80;
    if (length < node->min_length || length > node->max_length)
        return false;
    for (uint32_t i = 0; i < node->regexes.n; i++)
        if (!is_match(graph->regexes[graph->regex_lists[node->regexes.first + i]], text, len))
            return false;
    if (node->strings < 0)
        return true;
    const struct kl_string_set *set = &graph->sets[node->strings];
    uint32_t at = 0;
    for (size_t i = 0; i < len; i++)
        at = kl_string_set_step(set, at, (uint8_t)text[i]);
    return at != KL_STRING_SET_DEAD && set->nodes[at].ends;
}

static bool allows_number(const struct kl_schema_graph *graph, const struct kl_schema_node *node,
                          const json_t *value)
{
    char text[40];
    number_text(value, text);
    size_t len = strlen(text);
    bool is_integer = kl_number_is_integer(text, len);
    if (node->is_draft4 && strpbrk(text, ".eE") != NULL)
        is_integer = false;
    if ((node->types & (is_integer ? KL_JSON_INTEGER : KL_JSON_FRACTION)) == 0)
        return false;
    if (node->bounds >= 0 && !kl_number_in_bounds(text, len, &graph->bounds[node->bounds]))
        return false;
    bool found = !node->has_numbers;
    for (uint32_t i = 0; i < node->numbers.n && !found; i++)
        found = kl_number_equals(text, len, &graph->numbers[node->numbers.first + i]);
    return found;
}

static bool allows_member(const struct kl_schema_graph *graph, const struct kl_schema_node *node,
                          const char *key, const json_t *value)
{
    bool is_named = false;
    for (uint32_t i = 0; i < node->properties.n; i++) {
        struct kl_schema_property property = graph->properties[node->properties.first + i];
        const struct kl_schema_text *name = &graph->keys[property.key];
        if (name->len != strlen(key) || memcmp(name->bytes, key, name->len) != 0)
            continue;
        is_named = true;
        if (!node_allows(graph, property.node, value))
            return false;
    }
    for (uint32_t i = 0; i < node->patterns.n && !(is_named && graph->is_for_answers); i++) {
        struct kl_schema_pattern pattern = graph->patterns[node->patterns.first + i];
        if (!is_match(graph->regexes[pattern.regex], key, strlen(key)))
            continue;
        is_named = true;
        if (!node_allows(graph, pattern.node, value))
            return false;
    }
    if (!is_named && node->additional != KL_NO_NODE && !node_allows(graph, node->additional, value))
        return false;
    json_t *name = json_string(key);
    bool allowed =
        node->property_names == KL_NO_NODE || node_allows(graph, node->property_names, name);
    json_decref(name);
    return allowed;
}

static bool allows_object(const struct kl_schema_graph *graph, const struct kl_schema_node *node,
                          const json_t *object)
{
    size_t n = json_object_size(object);
    if ((node->types & KL_JSON_OBJECT) == 0 || n < node->min_properties || n > node->max_properties)
        return false;
    for (uint32_t i = 0; i < node->required.n; i++) {
        const struct kl_schema_text *name =
            &graph->keys[graph->key_lists[node->required.first + i]];
        if (json_object_getn(object, name->bytes, name->len) == NULL)
            return false;
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (!allows_member(graph, node, key, value))
            return false;
    }
    return true;
}

static bool allows_array(const struct kl_schema_graph *graph, const struct kl_schema_node *node,
                         const json_t *array)
{
    size_t n = json_array_size(array), contained = 0;
    if ((node->types & KL_JSON_ARRAY) == 0 || n < node->min_items || n > node->max_items)
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        int32_t of = i < node->prefix.n ? graph->node_lists[node->prefix.first + i] : node->items;
        if (of != KL_NO_NODE && !node_allows(graph, of, item))
            return false;
        if (node->contains != KL_NO_NODE)
            contained += node_allows(graph, node->contains, item);
        for (size_t j = 0; node->unique_items && j < i; j++)
            if (is_equal(item, json_array_get(array, j)))
                return false;
    }
    return node->contains == KL_NO_NODE ||
           (contained >= node->min_contains && contained <= node->max_contains);
}

static bool allows_itself(const struct kl_schema_graph *graph, const struct kl_schema_node *node,
                          const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
        return (node->types & KL_JSON_NULL) != 0;
    case JSON_FALSE:
        return (node->types & KL_JSON_FALSE) != 0;
    case JSON_TRUE:
        return (node->types & KL_JSON_TRUE) != 0;
    case JSON_STRING:
        return allows_string(graph, node, json_string_value(value), json_string_length(value));
    case JSON_ARRAY:
        return allows_array(graph, node, value);
    case JSON_OBJECT:
        return allows_object(graph, node, value);
    case JSON_INTEGER:
    case JSON_REAL:
        break;
    }
    return allows_number(graph, node, value);
}

static size_t count_allowing(const struct kl_schema_graph *graph, struct kl_range nodes,
                             const json_t *value)
{
    size_t n = 0;
    for (uint32_t i = 0; i < nodes.n; i++)
        n += node_allows(graph, graph->node_lists[nodes.first + i], value);
    return n;
}

static bool node_allows(const struct kl_schema_graph *graph, int32_t index, const json_t *value)
{
    const struct kl_schema_node *node = &graph->nodes[index];
    if (!allows_itself(graph, node, value) ||
        count_allowing(graph, node->all_of, value) != node->all_of.n ||
        (node->any_of.n != 0 && count_allowing(graph, node->any_of, value) == 0) ||
        (node->one_of.n != 0 && count_allowing(graph, node->one_of, value) != 1))
        return false;
    if (node->not_node != KL_NO_NODE && node_allows(graph, node->not_node, value))
        return false;
    if (node->if_node == KL_NO_NODE)
        return true;
    int32_t then = node_allows(graph, node->if_node, value) ? node->then_node : node->else_node;
    return then == KL_NO_NODE || node_allows(graph, then, value);
}

bool graph_allows(const struct kl_schema_graph *graph, const json_t *value)
{
    return node_allows(graph, graph->root, value);
}

json_t *json_of(const char *text)
{
    char copy[8192];
    size_t n = strlen(text);
    assert(n < sizeof copy);
    for (size_t i = 0; i <= n; i++)
        copy[i] = text[i] == '\'' ? '"' : text[i];
    json_t *json = kl_json_read(copy, n, NULL);
    if (json == NULL)
        fprintf(stderr, "not JSON: %s\n", text);
    assert(json != NULL);
    return json;
}
