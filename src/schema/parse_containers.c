/* Keywords of objects and arrays. */
#include <stdlib.h>
#include <string.h>

#include "schema/schema_parse.h"

/* A keyword that need not be a node if it is true. */
static enum kl_status parse_unless_true(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                        enum kl_schema_word word, int32_t *node)
{
    return json_is_true(frame->words.value[word]) ? KL_OK
                                                  : kl_schema_parse_word(p, frame, word, node);
}

static enum kl_status parse_properties(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    const json_t *value = frame->words.value[KL_WORD_PROPERTIES];
    if (value == NULL)
        return KL_OK;
    if (!json_is_object(value))
        return kl_schema_refuse(p, KL_ERR_INVALID, "properties", "must be an object of schemas");
    size_t n = json_object_size(value), i = 0;
    struct kl_schema_property *properties = malloc((n + 1) * sizeof(*properties));
    if (properties == NULL)
        return kl_fail_memory(p->err, "a schema", n * sizeof(*properties));
    enum kl_status status = KL_OK;
    const char *key;
    json_t *schema;
    json_object_foreach((json_t *)value, key, schema)
    {
        status = kl_schema_add_key(&p->builder, key, strlen(key), &properties[i].key);
        if (status == KL_OK)
            status = kl_schema_child(p, frame, "properties", key, schema, &properties[i].node);
        if (status != KL_OK)
            break;
        i++;
    }
    if (status == KL_OK)
        status = kl_schema_add_properties(&p->builder, properties, n, &frame->node.properties);
    free(properties);
    return status;
}

static enum kl_status parse_patterns(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    const json_t *value = frame->words.value[KL_WORD_PATTERN_PROPERTIES];
    if (value == NULL)
        return KL_OK;
    if (!json_is_object(value))
        return kl_schema_refuse(p, KL_ERR_INVALID, "patternProperties",
                                "must be an object of schemas");
    size_t n = json_object_size(value), i = 0;
    struct kl_schema_pattern *patterns = malloc((n + 1) * sizeof(*patterns));
    if (patterns == NULL)
        return kl_fail_memory(p->err, "a schema", n * sizeof(*patterns));
    enum kl_status status = KL_OK;
    const char *key;
    json_t *schema;
    json_object_foreach((json_t *)value, key, schema)
    {
        status =
            kl_schema_add_regex(&p->builder, key, strlen(key), KL_REGEX_SEARCH, &patterns[i].regex);
        status = kl_schema_refuse_failed(p, status, "patternProperties");
        if (status == KL_OK)
            status = kl_schema_child(p, frame, "patternProperties", key, schema, &patterns[i].node);
        if (status != KL_OK)
            break;
        i++;
    }
    if (status == KL_OK)
        status = kl_schema_add_patterns(&p->builder, patterns, n, &frame->node.patterns);
    free(patterns);
    return status;
}

/* names: an array of strings. */
enum kl_status kl_schema_parse_names(struct kl_schema_parser *p, const char *keyword,
                                     const json_t *names, struct kl_range *range)
{
    size_t n = json_array_size(names), n_keys = 0, i;
    if (!json_is_array(names))
        return kl_schema_refuse(p, KL_ERR_INVALID, keyword, "must be an array of names");
    uint32_t *keys = malloc((n + 1) * sizeof(*keys));
    if (keys == NULL)
        return kl_fail_memory(p->err, "a schema", n * sizeof(*keys));
    enum kl_status status = KL_OK;
    json_t *name;
    json_array_foreach(names, i, name)
    {
        if (!json_is_string(name))
            status = kl_schema_refuse(p, KL_ERR_INVALID, keyword, "must be an array of names");
        else
            status = kl_schema_add_key(&p->builder, json_string_value(name),
                                       json_string_length(name), &keys[n_keys++]);
        if (status != KL_OK)
            break;
    }
    if (status == KL_OK)
        status = kl_schema_add_key_list(&p->builder, keys, n_keys, range);
    free(keys);
    return status;
}

enum kl_status kl_schema_parse_object(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    struct kl_schema_node *node = &frame->node;
    const json_t *const *words = frame->words.value;
    enum kl_status status = parse_properties(p, frame);
    if (status == KL_OK)
        status = parse_patterns(p, frame);
    if (status == KL_OK)
        status = parse_unless_true(p, frame, KL_WORD_ADDITIONAL_PROPERTIES, &node->additional);
    if (status == KL_OK)
        status = kl_schema_parse_word(p, frame, KL_WORD_PROPERTY_NAMES, &node->property_names);
    if (status == KL_OK && words[KL_WORD_REQUIRED] != NULL)
        status = kl_schema_parse_names(p, "required", words[KL_WORD_REQUIRED], &node->required);
    if (status == KL_OK)
        status = kl_schema_parse_count(p, frame, KL_WORD_MIN_PROPERTIES, &node->min_properties);
    if (status == KL_OK)
        status = kl_schema_parse_count(p, frame, KL_WORD_MAX_PROPERTIES, &node->max_properties);
    const json_t *others = words[KL_WORD_ADDITIONAL_PROPERTIES];
    if (others == NULL)
        others = words[KL_WORD_UNEVALUATED_PROPERTIES];
    node->is_closed = others == NULL && node->properties.n + node->patterns.n != 0;
    node->is_open = json_is_true(others);
    return status;
}

/* items, prefixItems and additionalItems. */
static enum kl_status parse_items(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    struct kl_schema_node *node = &frame->node;
    const json_t *const *words = frame->words.value;
    enum kl_status status = kl_schema_parse_list(p, frame, KL_WORD_PREFIX_ITEMS, &node->prefix);
    if (status != KL_OK || !json_is_array(words[KL_WORD_ITEMS]))
        return status != KL_OK ? status : parse_unless_true(p, frame, KL_WORD_ITEMS, &node->items);
    if (p->draft == KL_DRAFT_2020 || words[KL_WORD_PREFIX_ITEMS] != NULL)
        return kl_schema_refuse(p, KL_ERR_INVALID, "items",
                                "must be a schema; an array of them is called prefixItems");
    status = kl_schema_parse_list(p, frame, KL_WORD_ITEMS, &node->prefix);
    return status != KL_OK ? status
                           : parse_unless_true(p, frame, KL_WORD_ADDITIONAL_ITEMS, &node->items);
}

enum kl_status kl_schema_parse_array(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    struct kl_schema_node *node = &frame->node;
    const json_t *unique = frame->words.value[KL_WORD_UNIQUE_ITEMS];
    if (unique != NULL && !json_is_boolean(unique))
        return kl_schema_refuse(p, KL_ERR_INVALID, "uniqueItems", "must be true or false");
    node->unique_items = json_is_true(unique);
    enum kl_status status = parse_items(p, frame);
    if (status == KL_OK)
        status = kl_schema_parse_count(p, frame, KL_WORD_MIN_ITEMS, &node->min_items);
    if (status == KL_OK)
        status = kl_schema_parse_count(p, frame, KL_WORD_MAX_ITEMS, &node->max_items);
    if (status != KL_OK || frame->words.value[KL_WORD_CONTAINS] == NULL)
        return status;
    node->min_contains = 1;
    status = kl_schema_parse_count(p, frame, KL_WORD_MIN_CONTAINS, &node->min_contains);
    if (status == KL_OK)
        status = kl_schema_parse_count(p, frame, KL_WORD_MAX_CONTAINS, &node->max_contains);
    if (status == KL_OK && (node->min_contains != 0 || node->max_contains != UINT32_MAX))
        status = kl_schema_parse_word(p, frame, KL_WORD_CONTAINS, &node->contains);
    return status;
}

/* The property is absent, or the node holds. */
static enum kl_status add_dependency(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                     const char *key, int32_t rest)
{
    struct kl_schema_node absent, either;
    kl_schema_node_init(&absent);
    kl_schema_node_init(&either);
    absent.path = either.path = frame->node.path;
    struct kl_schema_property property;
    int32_t nodes[2], node;
    enum kl_status status = kl_schema_add_key(&p->builder, key, strlen(key), &property.key);
    if (status == KL_OK)
        status = kl_schema_never(p, &property.node);
    if (status == KL_OK)
        status = kl_schema_add_properties(&p->builder, &property, 1, &absent.properties);
    if (status == KL_OK)
        status = kl_schema_add_node(&p->builder, &absent, &nodes[0]);
    nodes[1] = rest;
    if (status == KL_OK)
        status = kl_schema_add_node_list(&p->builder, nodes, 2, &either.any_of);
    if (status == KL_OK)
        status = kl_schema_add_node(&p->builder, &either, &node);
    return status == KL_OK ? kl_schema_also(p, frame, node) : status;
}

static enum kl_status parse_dependencies(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                         enum kl_schema_word word, bool names, bool schemas)
{
    const json_t *value = frame->words.value[word];
    const char *name = kl_schema_word_name(word), *key;
    if (value == NULL)
        return KL_OK;
    if (!json_is_object(value))
        return kl_schema_refuse(p, KL_ERR_INVALID, name, "must be an object");
    json_t *dependency;
    json_object_foreach((json_t *)value, key, dependency)
    {
        enum kl_status status;
        int32_t rest;
        if (names && (json_is_array(dependency) || !schemas)) {
            struct kl_schema_node required;
            kl_schema_node_init(&required);
            required.path = frame->node.path;
            status = kl_schema_parse_names(p, name, dependency, &required.required);
            if (status == KL_OK && required.required.n == 0)
                continue;
            if (status == KL_OK)
                status = kl_schema_add_node(&p->builder, &required, &rest);
        } else {
            status = kl_schema_child(p, frame, name, key, dependency, &rest);
        }
        if (status == KL_OK)
            status = add_dependency(p, frame, key, rest);
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

enum kl_status kl_schema_parse_dependencies(struct kl_schema_parser *p,
                                            struct kl_schema_frame *frame)
{
    enum kl_status status = parse_dependencies(p, frame, KL_WORD_DEPENDENCIES, true, true);
    if (status == KL_OK)
        status = parse_dependencies(p, frame, KL_WORD_DEPENDENT_REQUIRED, true, false);
    if (status == KL_OK)
        status = parse_dependencies(p, frame, KL_WORD_DEPENDENT_SCHEMAS, false, true);
    return status;
}

static bool is_trivial(const json_t *schema)
{
    return schema == NULL || json_is_true(schema) ||
           (json_is_object(schema) && json_object_size(schema) == 0);
}

/* Whether a keyword stands here that evaluates members of the same value elsewhere. */
static bool has_applicators(const struct kl_schema_words *words)
{
    static const enum kl_schema_word applicators[] = {
        KL_WORD_REF,    KL_WORD_DYNAMIC_REF,      KL_WORD_RECURSIVE_REF,
        KL_WORD_ALL_OF, KL_WORD_ANY_OF,           KL_WORD_ONE_OF,
        KL_WORD_IF,     KL_WORD_DEPENDENT_SCHEMAS};
    for (size_t i = 0; i < sizeof(applicators) / sizeof(*applicators); i++)
        if (words->value[applicators[i]] != NULL)
            return true;
    return false;
}

/* unevaluatedProperties and -Items: the same as additional ones where nothing else evaluates. */
enum kl_status kl_schema_parse_unevaluated(struct kl_schema_parser *p,
                                           struct kl_schema_frame *frame)
{
    const json_t *const *words = frame->words.value;
    bool elsewhere = has_applicators(&frame->words);
    if (!is_trivial(words[KL_WORD_UNEVALUATED_PROPERTIES]) &&
        words[KL_WORD_ADDITIONAL_PROPERTIES] == NULL) {
        if (elsewhere)
            return kl_schema_refuse(p, KL_ERR_UNSUPPORTED, "unevaluatedProperties",
                                    "is not supported next to allOf, anyOf, oneOf, if or $ref; "
                                    "list the properties and use additionalProperties");
        enum kl_status status =
            kl_schema_parse_word(p, frame, KL_WORD_UNEVALUATED_PROPERTIES, &frame->node.additional);
        if (status != KL_OK)
            return status;
    }
    if (is_trivial(words[KL_WORD_UNEVALUATED_ITEMS]) ||
        (words[KL_WORD_ITEMS] != NULL && !json_is_array(words[KL_WORD_ITEMS])) ||
        (words[KL_WORD_ITEMS] != NULL && words[KL_WORD_ADDITIONAL_ITEMS] != NULL))
        return KL_OK;
    if (elsewhere || words[KL_WORD_CONTAINS] != NULL)
        return kl_schema_refuse(p, KL_ERR_UNSUPPORTED, "unevaluatedItems",
                                "is not supported next to allOf, anyOf, oneOf, if, contains or "
                                "$ref; use items");
    return kl_schema_parse_word(p, frame, KL_WORD_UNEVALUATED_ITEMS, &frame->node.items);
}
