#include <stdlib.h>

#include "schema/value_plan.h"
#include "schema/value_plan_memory.h"

/* The pairs of a link while it is made: the nodes that are demanded of the member, and for which
 * node of the container. */
struct pairs {
    struct pair {
        uint32_t parent;
        int32_t node;
        bool is_contains;
    } * list;
    size_t n;
};

static void add_pair(struct pairs *pairs, uint32_t parent, int32_t node, bool is_contains)
{
    if (node != KL_NO_NODE)
        pairs->list[pairs->n++] =
            (struct pair){.parent = parent, .node = node, .is_contains = is_contains};
}

/* The demanded nodes of a plan are sorted, as kl_plan_of got them. */
static uint32_t demanded_index(const int32_t *nodes, size_t n, int32_t node)
{
    size_t low = 0;
    while (n > 1) {
        size_t half = n / 2;
        if (nodes[low + half] <= node)
            low += half;
        n -= half;
    }
    return (uint32_t)low;
}

static bool is_possible(const struct kl_plan *plan)
{
    for (int kind = 0; kind < KL_N_VALUE_KINDS; kind++)
        if (!plan->some_dead[kind])
            return true;
    return false;
}

static bool fill_link(struct kl_plans *plans, struct kl_link *link, const struct pairs *pairs)
{
    int32_t *nodes = kl_plans_take(plans, pairs->n, sizeof *nodes);
    link->pairs = kl_plans_take(plans, pairs->n, sizeof *link->pairs);
    bool ok = nodes != NULL && link->pairs != NULL;
    if (ok) {
        for (size_t i = 0; i < pairs->n; i++)
            nodes[i] = pairs->list[i].node;
        link->plan = kl_plan_of(plans, nodes, pairs->n);
        ok = link->plan != NULL;
    }
    for (size_t i = 0; i < pairs->n && ok; i++)
        link->pairs[link->n_pairs++] = (struct kl_link_pair){
            .parent = pairs->list[i].parent,
            .child = demanded_index(nodes, link->plan->n_demanded, pairs->list[i].node),
            .is_contains = pairs->list[i].is_contains};
    free(nodes);
    link->is_possible = ok && is_possible(link->plan);
    return ok;
}

static const struct kl_link *make_link(struct kl_plans *plans, uint32_t entry,
                                       const struct pairs *pairs)
{
    struct kl_link *link = kl_plans_take(plans, 1, sizeof *link);
    if (link == NULL || !fill_link(plans, link, pairs) || !kl_plans_add_link(plans, link)) {
        if (link != NULL)
            free(link->pairs);
        free(link);
        return NULL;
    }
    *kl_word_store_value(&plans->members, entry) = link->id + 1;
    return link;
}

/* Returns the entry of a key, and the link that it has already, if any. */
static uint32_t look_up(struct kl_plans *plans, const uint32_t *key, size_t n,
                        const struct kl_link **link)
{
    uint32_t entry = kl_plans_put(plans, &plans->members, key, n);
    uint32_t known = entry == 0 ? 0 : *kl_word_store_value(&plans->members, entry);
    *link = known == 0 ? NULL : plans->links[known - 1];
    return entry;
}

enum { OF_ROOT, OF_MEMBER, OF_ITEM };

const struct kl_link *kl_link_root(struct kl_plans *plans)
{
    const struct kl_link *link;
    uint32_t key[] = {OF_ROOT}, entry = look_up(plans, key, 1, &link);
    if (entry == 0 || link != NULL)
        return link;
    struct pair root = {.node = plans->graph->root};
    return make_link(plans, entry, &(struct pairs){.list = &root, .n = 1});
}

/* ---- members of objects ---------------------------------------------------------------------- */

static void demand_member(const struct kl_schema_graph *g, const struct kl_plan *plan, uint32_t at,
                          uint32_t key, const bool *matched, struct pairs *pairs)
{
    const struct kl_schema_node *node = plan->nodes[at].node;
    bool is_named = false;
    for (uint32_t i = 0; i < node->properties.n; i++) {
        if (plan->nodes[at].properties[i] == key) {
            add_pair(pairs, at, g->properties[node->properties.first + i].node, false);
            is_named = true;
        }
    }
    uint32_t n_patterns = is_named && g->is_for_answers ? 0 : node->patterns.n;
    for (uint32_t i = 0; i < n_patterns; i++) {
        const struct kl_schema_pattern *p = &g->patterns[node->patterns.first + i];
        for (uint32_t k = 0; k < plan->n_patterns; k++) {
            if (plan->patterns[k] == p->regex && matched[k]) {
                add_pair(pairs, at, p->node, false);
                is_named = true;
            }
        }
    }
    if (!is_named)
        add_pair(pairs, at, node->additional, false);
}

const struct kl_link *kl_link_member(struct kl_plans *plans, const struct kl_plan *plan,
                                     uint32_t key, const bool *matched)
{
    const struct kl_link *link = NULL;
    size_t n_words = 3 + ((size_t)plan->n_patterns + 31) / 32, most = 0;
    for (uint32_t i = 0; i < plan->n_objects; i++) {
        const struct kl_schema_node *node = plan->nodes[plan->objects[i]].node;
        most += 2 + (size_t)node->patterns.n; /* a property that is named twice counts twice */
    }
    uint32_t *words = kl_plans_take(plans, n_words, sizeof *words);
    if (words == NULL)
        return NULL;
    words[0] = OF_MEMBER;
    words[1] = plan->id;
    words[2] = key;
    for (uint32_t i = 0; i < plan->n_patterns; i++)
        words[3 + i / 32] |= (uint32_t)matched[i] << (i % 32);
    uint32_t entry = look_up(plans, words, n_words, &link);
    free(words);
    plans->bytes -= n_words * sizeof *words;
    if (entry == 0 || link != NULL)
        return link;
    struct pairs pairs = {.list = kl_plans_take(plans, most, sizeof *pairs.list)};
    if (pairs.list != NULL) {
        for (uint32_t i = 0; i < plan->n_objects; i++)
            demand_member(plans->graph, plan, plan->objects[i], key, matched, &pairs);
        link = make_link(plans, entry, &pairs);
    }
    free(pairs.list);
    return link;
}

/* ---- items of arrays ------------------------------------------------------------------------- */

const struct kl_link *kl_link_item(struct kl_plans *plans, const struct kl_plan *plan,
                                   uint32_t index)
{
    const struct kl_link *link;
    if (index > plan->longest_prefix) /* all items behind the longest prefix are alike */
        index = plan->longest_prefix;
    uint32_t key[] = {OF_ITEM, plan->id, index}, entry = look_up(plans, key, 3, &link);
    if (entry == 0 || link != NULL)
        return link;
    struct pairs pairs = {.list =
                              kl_plans_take(plans, 2 * (size_t)plan->n_arrays, sizeof *pairs.list)};
    if (pairs.list == NULL)
        return NULL;
    for (uint32_t i = 0; i < plan->n_arrays; i++) {
        uint32_t at = plan->arrays[i];
        const struct kl_schema_node *node = plan->nodes[at].node;
        add_pair(&pairs, at,
                 index < node->prefix.n ? plans->graph->node_lists[node->prefix.first + index]
                                        : node->items,
                 false);
        add_pair(&pairs, at, node->contains, true);
    }
    link = make_link(plans, entry, &pairs);
    free(pairs.list);
    return link;
}
