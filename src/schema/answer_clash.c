/*
 * Whether two raw nodes exclude each other: by type, by values, by a property that one of them
 * requires. It prunes alternatives, and tells which branches of oneOf need no more care.
 */
#include "schema/answer_parts.h"

/* The node that a node asks of a property: KL_NO_NODE if nothing, or nothing that is one node. */
static int32_t asked(const struct kl_answers *a, const struct kl_schema_node *node, uint32_t key)
{
    for (uint32_t i = 0; i < node->properties.n; i++)
        if (a->graph->properties[node->properties.first + i].key == key)
            return a->graph->properties[node->properties.first + i].node;
    return node->patterns.n == 0 ? node->additional : KL_NO_NODE;
}

static bool is_never(const struct kl_answers *a, int32_t node)
{
    return node != KL_NO_NODE && kl_raw(a, node)->types == 0;
}

/* Whether a property that x requires excludes y. */
static bool required_clash(struct kl_answers *a, const struct kl_schema_node *x,
                           const struct kl_schema_node *y, int depth)
{
    for (uint32_t i = 0; i < x->required.n; i++) {
        uint32_t key = a->graph->key_lists[x->required.first + i];
        int32_t of_x = asked(a, x, key), of_y = asked(a, y, key);
        if (is_never(a, of_x) || is_never(a, of_y))
            return true;
        if (of_x != KL_NO_NODE && of_y != KL_NO_NODE && kl_answers_clash(a, of_x, of_y, depth - 1))
            return true;
    }
    return false;
}

static bool objects_clash(struct kl_answers *a, const struct kl_schema_node *x,
                          const struct kl_schema_node *y, int depth)
{
    return x->min_properties > y->max_properties || y->min_properties > x->max_properties ||
           required_clash(a, x, y, depth) || required_clash(a, y, x, depth);
}

static bool arrays_clash(struct kl_answers *a, const struct kl_schema_node *x,
                         const struct kl_schema_node *y, int depth)
{
    uint32_t least = x->min_items > y->min_items ? x->min_items : y->min_items;
    if (least > x->max_items || least > y->max_items)
        return true;
    for (uint32_t i = 0; i < least && i < 8; i++) {
        int32_t of_x = i < x->prefix.n ? a->graph->node_lists[x->prefix.first + i] : x->items;
        int32_t of_y = i < y->prefix.n ? a->graph->node_lists[y->prefix.first + i] : y->items;
        if (is_never(a, of_x) || is_never(a, of_y) ||
            (of_x != KL_NO_NODE && of_y != KL_NO_NODE &&
             kl_answers_clash(a, of_x, of_y, depth - 1)))
            return true;
    }
    return false;
}

/* Whether no string of x's set satisfies what y asserts itself. */
static bool set_clashes(struct kl_answers *a, const struct kl_schema_node *x,
                        const struct kl_schema_node *y)
{
    const struct kl_string_set *set = &a->graph->sets[x->strings];
    struct kl_schema_node own = *y;
    enum kl_status status = KL_OK;
    const struct kl_schema_node *not_node =
        y->not_node != KL_NO_NODE ? kl_raw(a, y->not_node) : NULL;
    bool is_excluding = not_node != NULL && kl_raw_is_primitive(not_node);
    for (size_t i = 0; i < set->n; i++) {
        struct kl_schema_text text = set->sorted[i];
        bool allows = own.strings < 0 || kl_answers_set_has(&a->graph->sets[own.strings], &text);
        for (uint32_t k = 0; k < own.regexes.n && allows; k++)
            allows =
                kl_answers_match(a, a->graph->regex_lists[own.regexes.first + k], &text, &status);
        if (allows && is_excluding)
            allows = !kl_answers_allow_string(a, y->not_node, &text, &status);
        if (allows || status != KL_OK)
            return false;
    }
    return true;
}

static bool strings_clash(struct kl_answers *a, const struct kl_schema_node *x,
                          const struct kl_schema_node *y)
{
    if (x->min_length > y->max_length || y->min_length > x->max_length)
        return true;
    if (x->strings >= 0 && set_clashes(a, x, y))
        return true;
    return y->strings >= 0 && set_clashes(a, y, x);
}

/* Whether the nodes' own assertions exclude each other, for each type that both allow. */
static bool own_clash(struct kl_answers *a, const struct kl_schema_node *x,
                      const struct kl_schema_node *y, int depth)
{
    unsigned shared = x->types & y->types;
    if ((shared & (KL_JSON_NULL | KL_JSON_FALSE | KL_JSON_TRUE)) != 0)
        return false;
    if ((shared & KL_JSON_NUMBER) != 0 && !kl_answers_numbers_clash(a, x, y))
        return false;
    if ((shared & KL_JSON_STRING) != 0 && !strings_clash(a, x, y))
        return false;
    if ((shared & KL_JSON_ARRAY) != 0 && !arrays_clash(a, x, y, depth))
        return false;
    return (shared & KL_JSON_OBJECT) == 0 || objects_clash(a, x, y, depth);
}

static bool all_clash(struct kl_answers *a, struct kl_range nodes, int32_t y, int depth)
{
    for (uint32_t i = 0; i < nodes.n; i++)
        if (!kl_answers_clash(a, a->graph->node_lists[nodes.first + i], y, depth))
            return false;
    return nodes.n != 0;
}

static bool any_clashes(struct kl_answers *a, struct kl_range nodes, int32_t y, int depth)
{
    for (uint32_t i = 0; i < nodes.n; i++)
        if (kl_answers_clash(a, a->graph->node_lists[nodes.first + i], y, depth))
            return true;
    return false;
}

bool kl_answers_clash(struct kl_answers *a, int32_t x, int32_t y, int depth)
{
    struct kl_schema_node of_x = *kl_raw(a, x), of_y = *kl_raw(a, y);
    if (x == y)
        return of_x.types == 0;
    if (depth <= 0 || a->steps > KL_ANSWER_MAX_STEPS)
        return false;
    a->steps++;
    if (!a->is_negating && (of_x.not_node == y || of_y.not_node == x))
        return true;
    if (own_clash(a, &of_x, &of_y, depth))
        return true;
    depth--;
    return any_clashes(a, of_x.all_of, y, depth) || any_clashes(a, of_y.all_of, x, depth) ||
           all_clash(a, of_x.any_of, y, depth) || all_clash(a, of_y.any_of, x, depth) ||
           all_clash(a, of_x.one_of, y, depth) || all_clash(a, of_y.one_of, x, depth);
}

bool kl_raw_names(const struct kl_answers *a, const struct kl_schema_node *node, uint32_t key)
{
    for (uint32_t i = 0; i < node->properties.n; i++)
        if (a->graph->properties[node->properties.first + i].key == key)
            return true;
    for (uint32_t i = 0; i < node->required.n; i++)
        if (a->graph->key_lists[node->required.first + i] == key)
            return true;
    return false;
}

/* Whether the alternative names all properties that it may have, and the key is not one of them. */
static bool excludes(const struct kl_answers *a, const struct kl_alternative *alt, uint32_t key)
{
    bool is_closed = false;
    for (size_t i = 0; i < alt->n; i++) {
        const struct kl_schema_node *node = kl_raw(a, alt->applied[i]);
        if (node->is_open || node->patterns.n != 0 ||
            (node->additional != KL_NO_NODE && !is_never(a, node->additional)) ||
            kl_raw_names(a, node, key))
            return false;
        is_closed = is_closed || node->is_closed || is_never(a, node->additional);
    }
    return is_closed;
}

static bool is_required(const struct kl_answers *a, const struct kl_alternative *alt, uint32_t key)
{
    for (size_t i = 0; i < alt->n; i++) {
        struct kl_range required = kl_raw(a, alt->applied[i])->required;
        for (uint32_t k = 0; k < required.n; k++)
            if (a->graph->key_lists[required.first + k] == key)
                return true;
    }
    return false;
}

bool kl_answers_can_lack(const struct kl_answers *a, const struct kl_alternative *alt,
                         int32_t index, uint32_t *key)
{
    const struct kl_schema_node *node = kl_raw(a, index);
    if ((alt->types & ~(unsigned)KL_JSON_OBJECT & node->types) != 0)
        return false;
    for (uint32_t i = 0; i < node->required.n; i++) {
        *key = a->graph->key_lists[node->required.first + i];
        if (!is_required(a, alt, *key))
            return true;
    }
    return false;
}

bool kl_answers_lacks(const struct kl_answers *a, const struct kl_alternative *alt, int32_t index,
                      int depth, uint32_t *key)
{
    const struct kl_schema_node *node = kl_raw(a, index);
    if (depth <= 0 || (alt->types & ~(unsigned)KL_JSON_OBJECT & node->types) != 0)
        return false;
    for (uint32_t i = 0; i < node->required.n; i++) {
        *key = a->graph->key_lists[node->required.first + i];
        if (excludes(a, alt, *key))
            return true;
    }
    for (uint32_t i = 0; i < node->all_of.n; i++)
        if (kl_answers_lacks(a, alt, a->graph->node_lists[node->all_of.first + i], depth - 1, key))
            return true;
    return false;
}
