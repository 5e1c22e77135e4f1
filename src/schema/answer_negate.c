/*
 * The negation of a raw node: its assertions are a conjunction, so it does not hold if one of them
 * fails, or one of the nodes that must hold with it.
 *
 * The options need not exclude each other. Options that cannot be written as a node are left out:
 * what is written by the others is still valid.
 */
#include <stdlib.h>

#include "schema/answer_parts.h"

struct options {
    struct kl_answers *a;
    const char *path;
    int32_t *nodes;
    size_t n, room;
    enum kl_status status;
};

/* This assertion has no negation. */
static void leave_out(struct options *o, const char *keyword)
{
    if (o->a->left_out_path == NULL) {
        o->a->left_out_path = o->path;
        o->a->left_out_keyword = keyword;
    }
}

static void add_index(struct options *o, int32_t node)
{
    if (o->status != KL_OK)
        return;
    if (o->n == o->room) {
        size_t wider = o->room == 0 ? 16 : 2 * o->room;
        int32_t *grown = realloc(o->nodes, wider * sizeof(*grown));
        if (grown == NULL) {
            o->status = kl_fail_memory(o->a->err, "a schema", wider * sizeof(*grown));
            return;
        }
        o->nodes = grown;
        o->room = wider;
    }
    o->nodes[o->n++] = node;
}

static int32_t add_raw(struct options *o, struct kl_schema_node *node)
{
    int32_t index = KL_NO_NODE;
    node->path = o->path;
    if (o->status == KL_OK)
        o->status = kl_schema_add_node(&o->a->builder, node, &index);
    return index;
}

static void add(struct options *o, struct kl_schema_node *node)
{
    int32_t index = add_raw(o, node);
    add_index(o, index);
}

static struct kl_schema_node of_types(unsigned types)
{
    struct kl_schema_node node;
    kl_schema_node_init(&node);
    node.types = (uint8_t)types;
    return node;
}

/* A node that does not hold where `node` does. */
static int32_t negated(struct options *o, int32_t node)
{
    struct kl_schema_node raw = of_types(KL_JSON_ANY);
    raw.not_node = node;
    return add_raw(o, &raw);
}

static void negate_strings(struct options *o, const struct kl_schema_node *n)
{
    struct kl_schema_node node = of_types(KL_JSON_STRING), primitive = of_types(KL_JSON_ANY);
    if (n->min_length != 0) {
        node.max_length = n->min_length - 1;
        add(o, &node);
    }
    node = of_types(KL_JSON_STRING);
    if (n->max_length != UINT32_MAX) {
        node.min_length = n->max_length + 1;
        add(o, &node);
    }
    node = of_types(KL_JSON_STRING);
    for (uint32_t i = 0; i < n->regexes.n; i++) {
        primitive.regexes = (struct kl_range){n->regexes.first + i, 1};
        node.not_node = add_raw(o, &primitive);
        add(o, &node);
    }
    primitive = of_types(KL_JSON_ANY);
    if (n->strings >= 0) {
        primitive.strings = n->strings;
        node.not_node = add_raw(o, &primitive);
        add(o, &node);
    }
}

static void add_bounds(struct options *o, const struct kl_number_bounds *bounds)
{
    struct kl_schema_node node = of_types(KL_JSON_NUMBER);
    if (o->status == KL_OK)
        o->status = kl_schema_add_bounds(&o->a->builder, bounds, &node.bounds);
    add(o, &node);
}

static int compare_decimals(const void *a, const void *b)
{
    const struct kl_decimal *x = a, *y = b;
    return kl_answers_compare(x, y);
}

/* Below the first number of a list, between two, above the last one. */
static void negate_list(struct options *o, const struct kl_schema_node *n)
{
    size_t count = n->numbers.n;
    struct kl_decimal *sorted = malloc((count + 1) * sizeof(*sorted));
    if (sorted == NULL) {
        o->status = kl_fail_memory(o->a->err, "a schema", count * sizeof(*sorted));
        return;
    }
    for (size_t i = 0; i < count; i++)
        sorted[i] = o->a->graph->numbers[n->numbers.first + i];
    qsort(sorted, count, sizeof(*sorted), compare_decimals);
    for (size_t i = 0; i <= count; i++) {
        struct kl_number_bounds bounds = {
            .has_min = i > 0, .min_exclusive = true, .has_max = i < count, .max_exclusive = true};
        bounds.min_exclusive = bounds.has_min;
        bounds.max_exclusive = bounds.has_max;
        if (bounds.has_min)
            bounds.min = sorted[i - 1];
        if (bounds.has_max)
            bounds.max = sorted[i];
        add_bounds(o, &bounds);
    }
    free(sorted);
}

static void negate_numbers(struct options *o, const struct kl_schema_node *n)
{
    if (n->has_numbers)
        negate_list(o, n);
    if (n->bounds < 0)
        return;
    struct kl_number_bounds given = o->a->graph->bounds[n->bounds];
    if (given.has_min)
        add_bounds(o, &(struct kl_number_bounds){.has_max = true,
                                                 .max_exclusive = !given.min_exclusive,
                                                 .max = given.min});
    if (given.has_max)
        add_bounds(o, &(struct kl_number_bounds){.has_min = true,
                                                 .min_exclusive = !given.max_exclusive,
                                                 .min = given.max});
    if (given.has_multiple)
        leave_out(o, "multipleOf");
}

/* An object whose property `key` must be `value`; it is required unless value is never. */
static void add_property(struct options *o, uint32_t key, int32_t value, bool is_required)
{
    struct kl_schema_node node = of_types(KL_JSON_OBJECT);
    struct kl_schema_property property = {.key = key, .node = value};
    if (o->status == KL_OK)
        o->status = kl_schema_add_properties(&o->a->builder, &property, 1, &node.properties);
    if (o->status == KL_OK && is_required)
        o->status = kl_schema_add_key_list(&o->a->builder, &key, 1, &node.required);
    add(o, &node);
}

static void negate_objects(struct options *o, const struct kl_schema_node *n)
{
    struct kl_schema_node node = of_types(0);
    int32_t never = n->required.n == 0 ? KL_NO_NODE : add_raw(o, &node);
    for (uint32_t i = 0; i < n->required.n; i++)
        add_property(o, o->a->graph->key_lists[n->required.first + i], never, false);
    for (uint32_t i = 0; i < n->properties.n; i++) {
        struct kl_schema_property property = o->a->graph->properties[n->properties.first + i];
        if (!kl_raw_is_trivial(kl_raw(o->a, property.node)))
            add_property(o, property.key, negated(o, property.node), true);
    }
    node = of_types(KL_JSON_OBJECT);
    if (n->min_properties != 0) {
        node.max_properties = n->min_properties - 1;
        add(o, &node);
    }
    node = of_types(KL_JSON_OBJECT);
    if (n->max_properties != UINT32_MAX) {
        node.min_properties = n->max_properties + 1;
        add(o, &node);
    }
    if (n->patterns.n != 0)
        leave_out(o, "patternProperties");
    if (n->additional != KL_NO_NODE)
        leave_out(o, "additionalProperties");
    if (n->property_names != KL_NO_NODE)
        leave_out(o, "propertyNames");
}

static void negate_arrays(struct options *o, const struct kl_schema_node *n)
{
    struct kl_schema_node node = of_types(KL_JSON_ARRAY);
    if (n->min_items != 0) {
        node.max_items = n->min_items - 1;
        add(o, &node);
    }
    node = of_types(KL_JSON_ARRAY);
    if (n->max_items != UINT32_MAX) {
        node.min_items = n->max_items + 1;
        add(o, &node);
    }
    node = of_types(KL_JSON_ARRAY);
    if (n->items != KL_NO_NODE && n->prefix.n == 0) {
        node.contains = negated(o, n->items);
        node.min_contains = 1;
        add(o, &node);
    }
    node = of_types(KL_JSON_ARRAY);
    if (n->contains != KL_NO_NODE && n->min_contains == 1 && n->max_contains == UINT32_MAX) {
        node.items = negated(o, n->contains);
        add(o, &node);
    } else if (n->contains != KL_NO_NODE) {
        leave_out(o, "contains");
    }
    if (n->unique_items)
        leave_out(o, "uniqueItems");
    if (n->prefix.n != 0)
        leave_out(o, "prefixItems");
}

/* A node for which all of these hold. */
static void add_all(struct options *o, const int32_t *nodes, size_t n)
{
    struct kl_schema_node node = of_types(KL_JSON_ANY);
    if (o->status == KL_OK)
        o->status = kl_schema_add_node_list(&o->a->builder, nodes, n, &node.all_of);
    add(o, &node);
}

/* None of the nodes holds. */
static void add_none(struct options *o, struct kl_range range)
{
    int32_t *nodes = malloc((range.n + 1) * sizeof(*nodes));
    if (nodes == NULL) {
        o->status = kl_fail_memory(o->a->err, "a schema", range.n * sizeof(*nodes));
        return;
    }
    for (uint32_t i = 0; i < range.n; i++)
        nodes[i] = negated(o, o->a->graph->node_lists[range.first + i]);
    add_all(o, nodes, range.n);
    free(nodes);
}

static void negate_logic(struct options *o, const struct kl_schema_node *n)
{
    struct kl_answers *a = o->a;
    for (uint32_t i = 0; i < n->all_of.n; i++)
        add_index(o, negated(o, a->graph->node_lists[n->all_of.first + i]));
    if (n->any_of.n != 0)
        add_none(o, n->any_of);
    if (n->one_of.n != 0) { /* none, or two of them */
        add_none(o, n->one_of);
        for (uint32_t i = 0; i < n->one_of.n; i++)
            for (uint32_t j = i + 1; j < n->one_of.n; j++) {
                int32_t both[] = {a->graph->node_lists[n->one_of.first + i],
                                  a->graph->node_lists[n->one_of.first + j]};
                if (!kl_answers_clash(a, both[0], both[1], 3))
                    add_all(o, both, 2);
            }
    }
    if (n->not_node != KL_NO_NODE)
        add_index(o, n->not_node);
    if (n->if_node == KL_NO_NODE)
        return;
    if (n->then_node != KL_NO_NODE) {
        int32_t nodes[] = {n->if_node, negated(o, n->then_node)};
        add_all(o, nodes, 2);
    }
    if (n->else_node != KL_NO_NODE) {
        int32_t nodes[] = {negated(o, n->if_node), negated(o, n->else_node)};
        add_all(o, nodes, 2);
    }
}

enum kl_status kl_answers_negate(struct kl_answers *a, int32_t index, struct kl_range *range)
{
    for (size_t i = 0; i < a->n_negations; i++)
        if (a->negations[i].node == index) {
            *range = a->negations[i].options;
            return KL_OK;
        }
    struct kl_schema_node node = *kl_raw(a, index);
    struct options o = {.a = a, .path = node.path};
    if (node.types != KL_JSON_ANY) {
        struct kl_schema_node other = of_types(~(unsigned)node.types & KL_JSON_ANY);
        add(&o, &other);
    }
    if ((node.types & KL_JSON_STRING) != 0)
        negate_strings(&o, &node);
    if ((node.types & KL_JSON_NUMBER) != 0)
        negate_numbers(&o, &node);
    if ((node.types & KL_JSON_OBJECT) != 0)
        negate_objects(&o, &node);
    if ((node.types & KL_JSON_ARRAY) != 0)
        negate_arrays(&o, &node);
    negate_logic(&o, &node);
    if (o.status == KL_OK)
        o.status = kl_schema_add_node_list(&a->builder, o.nodes, o.n, range);
    free(o.nodes);
    if (o.status == KL_OK && a->n_negations == a->room_negations) {
        size_t wider = a->room_negations == 0 ? 32 : 2 * a->room_negations;
        void *grown = realloc(a->negations, wider * sizeof(*a->negations));
        if (grown == NULL)
            return kl_fail_memory(a->err, "a schema", wider * sizeof(*a->negations));
        a->negations = grown;
        a->room_negations = wider;
    }
    if (o.status == KL_OK)
        a->negations[a->n_negations++] =
            (struct kl_answer_negation){.node = index, .options = *range};
    return o.status;
}

enum kl_status kl_answers_without(struct kl_answers *a, const char *path, uint32_t key,
                                  int32_t *node)
{
    struct options o = {.a = a, .path = path};
    struct kl_schema_node never = of_types(0), without = of_types(KL_JSON_ANY);
    struct kl_schema_property property = {.key = key, .node = add_raw(&o, &never)};
    if (o.status == KL_OK)
        o.status = kl_schema_add_properties(&a->builder, &property, 1, &without.properties);
    *node = add_raw(&o, &without);
    return o.status;
}

enum kl_status kl_answers_with(struct kl_answers *a, const char *path, uint32_t key, int32_t *node)
{
    struct options o = {.a = a, .path = path};
    struct kl_schema_node with = of_types(KL_JSON_OBJECT);
    o.status = kl_schema_add_key_list(&a->builder, &key, 1, &with.required);
    *node = add_raw(&o, &with);
    return o.status;
}
