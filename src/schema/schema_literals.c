/* const and enum. */
#include <stdlib.h>
#include <string.h>

#include "schema/schema_parse.h"

/* The assertions of a list of values, while it is collected. */
struct literals {
    const char *word, *path;
    unsigned types;
    struct kl_schema_text *strings;
    struct kl_decimal *numbers;
    int32_t *nodes; /* of arrays and objects */
    size_t n_strings, n_numbers, n_nodes;
};

static enum kl_status make_node(struct kl_schema_parser *p, const char *word, const char *path,
                                const json_t *const *values, size_t n, int depth,
                                struct kl_schema_node *node);

/* A node that allows just this value. */
static enum kl_status node_of_value(struct kl_schema_parser *p, const struct literals *literals,
                                    const json_t *value, int depth, int32_t *index)
{
    struct kl_schema_node node;
    if (depth > KL_SCHEMA_MAX_DEPTH)
        return kl_schema_refuse(p, KL_ERR_LIMIT, literals->word, "is nested deeper than %d values",
                                KL_SCHEMA_MAX_DEPTH);
    enum kl_status status = make_node(p, literals->word, literals->path, &value, 1, depth, &node);
    return status == KL_OK ? kl_schema_add_node(&p->builder, &node, index) : status;
}

static enum kl_status array_node(struct kl_schema_parser *p, const struct literals *literals,
                                 const json_t *array, int depth, struct kl_schema_node *node)
{
    size_t n = json_array_size(array);
    int32_t *items = malloc((n + 1) * sizeof(*items));
    if (items == NULL)
        return kl_fail_memory(p->err, "a schema", n * sizeof(*items));
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = node_of_value(p, literals, json_array_get(array, i), depth + 1, &items[i]);
    if (status == KL_OK)
        status = kl_schema_add_node_list(&p->builder, items, n, &node->prefix);
    free(items);
    node->types = KL_JSON_ARRAY;
    node->min_items = node->max_items = (uint32_t)n;
    return status;
}

static enum kl_status object_node(struct kl_schema_parser *p, const struct literals *literals,
                                  const json_t *object, int depth, struct kl_schema_node *node)
{
    size_t n = json_object_size(object), i = 0;
    struct kl_schema_property *properties = malloc((n + 1) * sizeof(*properties));
    uint32_t *required = malloc((n + 1) * sizeof(*required));
    enum kl_status status = KL_OK;
    if (properties == NULL || required == NULL)
        status = kl_fail_memory(p->err, "a schema", n * sizeof(*properties));
    const char *key;
    json_t *value;
    if (status == KL_OK)
        json_object_foreach((json_t *)object, key, value)
        {
            status = kl_schema_add_key(&p->builder, key, strlen(key), &required[i]);
            if (status == KL_OK)
                status = node_of_value(p, literals, value, depth + 1, &properties[i].node);
            if (status != KL_OK)
                break;
            properties[i].key = required[i];
            i++;
        }
    if (status == KL_OK)
        status = kl_schema_add_properties(&p->builder, properties, n, &node->properties);
    if (status == KL_OK)
        status = kl_schema_add_key_list(&p->builder, required, n, &node->required);
    free(properties);
    free(required);
    node->types = KL_JSON_OBJECT;
    node->max_properties = (uint32_t)n;
    return status == KL_OK ? kl_schema_never(p, &node->additional) : status;
}

static enum kl_status collect(struct kl_schema_parser *p, struct literals *literals,
                              const json_t *value, int depth)
{
    struct kl_schema_node node;
    struct kl_schema_text *text;
    enum kl_status status;
    switch (json_typeof(value)) {
    case JSON_NULL:
        literals->types |= KL_JSON_NULL;
        return KL_OK;
    case JSON_FALSE:
        literals->types |= KL_JSON_FALSE;
        return KL_OK;
    case JSON_TRUE:
        literals->types |= KL_JSON_TRUE;
        return KL_OK;
    case JSON_STRING:
        literals->types |= KL_JSON_STRING;
        text = &literals->strings[literals->n_strings++];
        return kl_schema_add_text(&p->builder, json_string_value(value), json_string_length(value),
                                  text);
    case JSON_INTEGER:
    case JSON_REAL:
        literals->types |= KL_JSON_NUMBER;
        return kl_schema_parse_decimal(p, literals->word, value,
                                       &literals->numbers[literals->n_numbers++]);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    kl_schema_node_init(&node);
    node.path = literals->path;
    status = json_is_array(value) ? array_node(p, literals, value, depth, &node)
                                  : object_node(p, literals, value, depth, &node);
    if (status == KL_OK)
        status = kl_schema_add_node(&p->builder, &node, &literals->nodes[literals->n_nodes++]);
    return status;
}

/* Sets what the collected scalars assert. */
static enum kl_status set_scalars(struct kl_schema_parser *p, const struct literals *literals,
                                  struct kl_schema_node *node)
{
    enum kl_status status = KL_OK;
    node->types = (uint8_t)literals->types;
    if (literals->n_strings != 0)
        status =
            kl_schema_add_set(&p->builder, literals->strings, literals->n_strings, &node->strings);
    if (status == KL_OK && literals->n_numbers != 0) {
        node->has_numbers = true;
        status = kl_schema_add_numbers(&p->builder, literals->numbers, literals->n_numbers,
                                       &node->numbers);
    }
    return status;
}

static enum kl_status combine(struct kl_schema_parser *p, struct literals *literals,
                              struct kl_schema_node *node)
{
    if (literals->n_nodes == 0)
        return set_scalars(p, literals, node);
    if (literals->n_nodes == 1 && literals->types == 0) {
        *node = p->graph->nodes[literals->nodes[0]];
        return KL_OK;
    }
    if (literals->types != 0) {
        struct kl_schema_node scalars;
        kl_schema_node_init(&scalars);
        scalars.path = literals->path;
        enum kl_status status = set_scalars(p, literals, &scalars);
        if (status == KL_OK)
            status =
                kl_schema_add_node(&p->builder, &scalars, &literals->nodes[literals->n_nodes++]);
        if (status != KL_OK)
            return status;
    }
    return kl_schema_add_node_list(&p->builder, literals->nodes, literals->n_nodes, &node->any_of);
}

/* Sets *node to one that allows just these values. */
static enum kl_status make_node(struct kl_schema_parser *p, const char *word, const char *path,
                                const json_t *const *values, size_t n, int depth,
                                struct kl_schema_node *node)
{
    struct literals literals = {.word = word, .path = path};
    literals.strings = malloc((n + 1) * sizeof(*literals.strings));
    literals.numbers = malloc((n + 1) * sizeof(*literals.numbers));
    literals.nodes = malloc((n + 1) * sizeof(*literals.nodes));
    kl_schema_node_init(node);
    node->path = path;
    enum kl_status status = KL_OK;
    if (literals.strings == NULL || literals.numbers == NULL || literals.nodes == NULL)
        status = kl_fail_memory(p->err, "a schema", n * sizeof(*literals.numbers));
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = collect(p, &literals, values[i], depth);
    if (status == KL_OK)
        status = combine(p, &literals, node);
    free(literals.strings);
    free(literals.numbers);
    free(literals.nodes);
    return status;
}

/* Lets the node assert what another one asserts: of the same members if they are free. */
static enum kl_status assert_also(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                  const struct kl_schema_node *values)
{
    struct kl_schema_node *node = &frame->node;
    const unsigned containers = KL_JSON_ARRAY | KL_JSON_OBJECT;
    if (values->any_of.n == 0 && (values->types & containers) == 0 && node->strings < 0 &&
        !node->has_numbers) {
        node->types &= values->types;
        node->strings = values->strings;
        node->has_numbers = values->has_numbers;
        node->numbers = values->numbers;
        return KL_OK;
    }
    int32_t index;
    enum kl_status status = kl_schema_add_node(&p->builder, values, &index);
    return status == KL_OK ? kl_schema_also(p, frame, index) : status;
}

enum kl_status kl_schema_parse_enums(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    const json_t *constant = frame->words.value[KL_WORD_CONST];
    const json_t *list = frame->words.value[KL_WORD_ENUM];
    const char *path = frame->node.path;
    struct kl_schema_node values;
    enum kl_status status = KL_OK;
    if (constant != NULL) {
        status = make_node(p, "const", path, &constant, 1, 0, &values);
        if (status == KL_OK)
            status = assert_also(p, frame, &values);
    }
    if (status != KL_OK || list == NULL)
        return status;
    if (!json_is_array(list))
        return kl_schema_refuse(p, KL_ERR_INVALID, "enum", "must be an array of values");
    size_t n = json_array_size(list);
    const json_t **elements = malloc((n + 1) * sizeof(*elements));
    if (elements == NULL)
        return kl_fail_memory(p->err, "a schema", n * sizeof(*elements));
    for (size_t i = 0; i < n; i++)
        elements[i] = json_array_get(list, i);
    status = make_node(p, "enum", path, elements, n, 0, &values);
    free(elements);
    return status == KL_OK ? assert_also(p, frame, &values) : status;
}
