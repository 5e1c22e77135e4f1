/*
 * Removes what no value can satisfy: the least fixpoint of "some value satisfies this node", so
 * that recursion without an end is empty, too. Then the nodes that are left are numbered anew.
 */
#include <stdlib.h>
#include <string.h>

#include "schema/answer_parts.h"

struct prune {
    struct kl_answers *a;
    struct kl_schema_graph *graph;
    uint8_t *live;   /* [n_nodes] the types of values that satisfy a node, as far as known */
    int32_t *number; /* [n_nodes] new number of a node, or KL_NO_NODE */
    int32_t *order;  /* [n] nodes that are reached, by new number */
    size_t n;
};

static bool is_live(const struct prune *p, int32_t node)
{
    return node == KL_NO_NODE || p->live[node] != 0;
}

/* The set that all items are strings of; NULL: none is known. */
static const struct kl_string_set *set_of_items(const struct prune *p,
                                                const struct kl_schema_node *node)
{
    const struct kl_schema_node *item =
        node->items == KL_NO_NODE ? NULL : &p->graph->nodes[node->items];
    if (item == NULL || node->prefix.n != 0 || item->any_of.n != 0 || item->strings < 0 ||
        p->live[node->items] != KL_JSON_STRING)
        return NULL;
    return &p->graph->sets[item->strings];
}

/* How many items there may be at most, by those that are live. */
static uint32_t most_items(const struct prune *p, const struct kl_schema_node *node)
{
    uint32_t most = node->max_items;
    const struct kl_string_set *set = node->unique_items ? set_of_items(p, node) : NULL;
    if (set != NULL && set->n < most)
        most = (uint32_t)set->n;
    for (uint32_t i = 0; i < node->prefix.n; i++)
        if (!is_live(p, p->graph->node_lists[node->prefix.first + i]))
            return i < most ? i : most;
    return is_live(p, node->items) || node->prefix.n > most ? most : node->prefix.n;
}

static bool has_property(const struct prune *p, const struct kl_schema_node *node, uint32_t key)
{
    for (uint32_t i = 0; i < node->properties.n; i++) {
        struct kl_schema_property property = p->graph->properties[node->properties.first + i];
        if (property.key == key)
            return is_live(p, property.node);
    }
    return false;
}

/* How many names there are that are not listed; UINT32_MAX: many. */
static uint32_t n_others(const struct prune *p, const struct kl_schema_node *node)
{
    uint32_t n = is_live(p, node->additional) ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < node->patterns.n && n != UINT32_MAX; i++) {
        struct kl_schema_pattern pattern = p->graph->patterns[node->patterns.first + i];
        uint32_t more = is_live(p, pattern.node) ? pattern.n_names : 0;
        n = more > UINT32_MAX - n ? UINT32_MAX : n + more;
    }
    return n;
}

static bool has_others(const struct prune *p, const struct kl_schema_node *node)
{
    bool found = is_live(p, node->additional);
    for (uint32_t i = 0; i < node->patterns.n && !found; i++)
        found = is_live(p, p->graph->patterns[node->patterns.first + i].node);
    return found;
}

/* A bit for each property would make this quicker; the names required are few. */
static bool object_is_live(const struct prune *p, const struct kl_schema_node *node)
{
    uint32_t n;
    if (node->required.n > node->max_properties || node->min_properties > node->max_properties)
        return false;
    for (uint32_t i = 0; i < node->required.n; i++)
        if (!has_property(p, node, p->graph->key_lists[node->required.first + i]))
            return false;
    n = node->min_properties == 0 ? 0 : n_others(p, node);
    for (uint32_t i = 0; i < node->properties.n && n < node->min_properties; i++)
        n += is_live(p, p->graph->properties[node->properties.first + i].node);
    return n >= node->min_properties;
}

static uint8_t types_of(const struct prune *p, const struct kl_schema_node *node)
{
    uint8_t types = 0;
    if (node->any_of.n != 0) {
        for (uint32_t i = 0; i < node->any_of.n; i++)
            types |= p->live[p->graph->node_lists[node->any_of.first + i]];
        return types;
    }
    types = node->types;
    if ((types & KL_JSON_ARRAY) != 0 && node->min_items > most_items(p, node))
        types &= (uint8_t)~KL_JSON_ARRAY;
    if ((types & KL_JSON_OBJECT) != 0 && !object_is_live(p, node))
        types &= (uint8_t)~KL_JSON_OBJECT;
    return types;
}

static void find_live(struct prune *p)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = p->graph->n_nodes; i-- > p->a->n_raw;) {
            uint8_t types = types_of(p, &p->graph->nodes[i]);
            changed = changed || types != p->live[i];
            p->live[i] = types;
        }
    }
}

/* ---- what is left of a node ------------------------------------------------------------------ */

/* Items that must differ: only where each state can go on. */
static enum kl_status check_unique(struct prune *p, struct kl_schema_node *node)
{
    if (node->max_items <= 1)
        node->unique_items = false;
    if (!node->unique_items || (node->types & KL_JSON_ARRAY) == 0)
        return KL_OK;
    if (set_of_items(p, node) != NULL)
        return KL_OK; /* in their order */
    const struct kl_schema_node *item =
        node->items == KL_NO_NODE ? NULL : &p->graph->nodes[node->items];
    if (item != NULL && node->prefix.n == 0 && item->any_of.n == 0 &&
        p->live[node->items] == KL_JSON_STRING && item->regexes.n == 0 &&
        item->max_length == UINT32_MAX)
        return KL_OK;
    return kl_answers_refuse(p->a, node, KL_ERR_UNSUPPORTED, "uniqueItems",
                             "is supported in answers for items that are free strings or strings "
                             "of an enum");
}

/* A property that can have no value stays if its name would be allowed by others. */
static void drop_properties(const struct prune *p, struct kl_schema_node *node)
{
    uint32_t n = 0, kept = 0;
    bool others = has_others(p, node);
    for (uint32_t i = node->properties.first; i < node->properties.first + node->properties.n; i++)
        if (others || is_live(p, p->graph->properties[i].node))
            p->graph->properties[node->properties.first + n++] = p->graph->properties[i];
    for (uint32_t i = node->patterns.first; i < node->patterns.first + node->patterns.n; i++)
        if (is_live(p, p->graph->patterns[i].node))
            p->graph->patterns[node->patterns.first + kept++] = p->graph->patterns[i];
    node->properties.n = n;
    node->patterns.n = kept;
}

static enum kl_status tidy(struct prune *p, struct kl_schema_node *node, uint8_t types)
{
    uint32_t n = 0;
    int32_t *lists = p->graph->node_lists;
    for (uint32_t i = 0; i < node->any_of.n; i++)
        if (is_live(p, lists[node->any_of.first + i]))
            lists[node->any_of.first + n++] = lists[node->any_of.first + i];
    node->any_of.n = n;
    node->types = types;
    if (n != 0)
        return KL_OK;
    if ((types & KL_JSON_ARRAY) != 0) {
        node->max_items = most_items(p, node);
        if (node->prefix.n > node->max_items)
            node->prefix.n = node->max_items;
    } else {
        node->prefix.n = 0;
        node->unique_items = false;
    }
    if (!is_live(p, node->items) || (types & KL_JSON_ARRAY) == 0 ||
        node->prefix.n == node->max_items)
        node->items = KL_NO_NODE;
    if ((types & KL_JSON_OBJECT) != 0) {
        drop_properties(p, node);
    } else {
        node->properties.n = node->patterns.n = node->required.n = 0;
        node->additional = node->property_names = KL_NO_NODE;
    }
    return check_unique(p, node);
}

/* ---- numbering ------------------------------------------------------------------------------- */

static int32_t reach(struct prune *p, int32_t node)
{
    if (node == KL_NO_NODE)
        return node;
    if (p->number[node] == KL_NO_NODE) {
        p->number[node] = (int32_t)p->n;
        p->order[p->n++] = node;
    }
    return p->number[node];
}

static void renumber(struct prune *p, struct kl_schema_node *node)
{
    int32_t *lists = p->graph->node_lists;
    for (uint32_t i = 0; i < node->any_of.n; i++)
        lists[node->any_of.first + i] = reach(p, lists[node->any_of.first + i]);
    for (uint32_t i = 0; i < node->prefix.n; i++)
        lists[node->prefix.first + i] = reach(p, lists[node->prefix.first + i]);
    for (uint32_t i = 0; i < node->properties.n; i++) {
        int32_t *of = &p->graph->properties[node->properties.first + i].node;
        *of = reach(p, *of);
    }
    for (uint32_t i = 0; i < node->patterns.n; i++) {
        int32_t *of = &p->graph->patterns[node->patterns.first + i].node;
        *of = reach(p, *of);
    }
    node->items = reach(p, node->items);
    node->additional = reach(p, node->additional);
    node->property_names = reach(p, node->property_names);
}

static enum kl_status rebuild(struct prune *p)
{
    struct kl_schema_graph *graph = p->graph;
    struct kl_schema_node *nodes = NULL;
    size_t room = 0;
    enum kl_status status = KL_OK;
    graph->root = reach(p, graph->root);
    for (size_t i = 0; i < p->n && status == KL_OK; i++) {
        if (i == room) {
            room = room == 0 ? 16 : 2 * room;
            void *grown = realloc(nodes, room * sizeof(*nodes));
            if (grown == NULL) {
                free(nodes);
                return kl_fail_memory(p->a->err, "a schema", room * sizeof(*nodes));
            }
            nodes = grown;
        }
        nodes[i] = graph->nodes[p->order[i]];
        status = tidy(p, &nodes[i], p->live[p->order[i]]);
        renumber(p, &nodes[i]);
    }
    if (status != KL_OK) {
        free(nodes);
        return status;
    }
    free(graph->nodes);
    graph->nodes = nodes;
    graph->n_nodes = p->n;
    return KL_OK;
}

static enum kl_status refuse_empty(struct kl_answers *a)
{
    struct kl_schema_node *root = &a->graph->nodes[a->graph->root], left_out = {0};
    if (a->left_out_path == NULL)
        return kl_answers_refuse(a, root, KL_ERR_UNSUPPORTED, "", "allows no value");
    left_out.path = a->left_out_path;
    return kl_answers_refuse(a, &left_out, KL_ERR_UNSUPPORTED, a->left_out_keyword,
                             "is not supported in answers below not, oneOf or if, unless others "
                             "decide there");
}

enum kl_status kl_answers_prune(struct kl_answers *a)
{
    size_t n = a->graph->n_nodes;
    struct prune p = {.a = a, .graph = a->graph};
    p.live = calloc(n + 1, sizeof(*p.live));
    p.number = malloc((n + 1) * sizeof(*p.number));
    p.order = malloc((n + 1) * sizeof(*p.order));
    enum kl_status status = KL_OK;
    if (p.live == NULL || p.number == NULL || p.order == NULL)
        status = kl_fail_memory(a->err, "a schema", n * sizeof(*p.number));
    if (status == KL_OK) {
        for (size_t i = 0; i < n; i++)
            p.number[i] = KL_NO_NODE;
        find_live(&p);
        if (p.live[a->graph->root] == 0)
            status = refuse_empty(a);
        else
            status = rebuild(&p);
    }
    free(p.live);
    free(p.number);
    free(p.order);
    return status;
}
