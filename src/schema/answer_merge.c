/* The assertions of an alternative, as one node; its arrays. */
#include <stdlib.h>

#include "schema/answer_parts.h"

/* Items that `contains` asks for become the first ones. */
enum { MAX_CONTAINED = 64, MAX_PREFIX = 4096 };

/* The raw nodes of items at one place (UINT32_MAX: behind all prefixes), in nodes[alt->n + 1]. */
static size_t item_nodes(const struct kl_answers *a, const struct kl_alternative *alt,
                         uint32_t place, int32_t *nodes)
{
    size_t n = 0;
    uint32_t first = 0; /* place of the first item of this contains */
    for (size_t i = 0; i < alt->n; i++) {
        const struct kl_schema_node *node = kl_raw(a, alt->applied[i]);
        int32_t item =
            place < node->prefix.n ? a->graph->node_lists[node->prefix.first + place] : node->items;
        if (item != KL_NO_NODE)
            nodes[n++] = item;
        if (node->contains == KL_NO_NODE)
            continue;
        if (place >= first && place - first < node->min_contains)
            nodes[n++] = node->contains;
        first += node->min_contains;
    }
    return n;
}

static enum kl_status fill_items(struct kl_answers *a, const struct kl_alternative *alt,
                                 uint32_t n_prefix, struct kl_schema_node *node)
{
    int32_t *nodes = malloc((2 * alt->n + 1) * sizeof(*nodes));
    int32_t *prefix = malloc((n_prefix + 1) * sizeof(*prefix));
    enum kl_status status = KL_OK;
    if (nodes == NULL || prefix == NULL)
        status = kl_fail_memory(a->err, "a schema", n_prefix * sizeof(*prefix));
    for (uint32_t i = 0; i < n_prefix && status == KL_OK; i++)
        status = kl_answers_node(a, nodes, item_nodes(a, alt, i, nodes), &prefix[i]);
    if (status == KL_OK)
        status = kl_schema_add_node_list(&a->builder, prefix, n_prefix, &node->prefix);
    if (status == KL_OK)
        status =
            kl_answers_free_node(a, nodes, item_nodes(a, alt, UINT32_MAX, nodes), &node->items);
    free(nodes);
    free(prefix);
    return status;
}

static enum kl_status merge_array(struct kl_answers *a, const struct kl_alternative *alt,
                                  struct kl_schema_node *node)
{
    uint32_t n_prefix = 0, contained = 0;
    for (size_t i = 0; i < alt->n; i++) {
        const struct kl_schema_node *raw = kl_raw(a, alt->applied[i]);
        node->unique_items = node->unique_items || raw->unique_items;
        node->min_items = raw->min_items > node->min_items ? raw->min_items : node->min_items;
        node->max_items = raw->max_items < node->max_items ? raw->max_items : node->max_items;
        n_prefix = raw->prefix.n > n_prefix ? raw->prefix.n : n_prefix;
        if (raw->contains == KL_NO_NODE)
            continue;
        if (raw->min_contains > MAX_CONTAINED || (contained += raw->min_contains) > MAX_CONTAINED)
            return kl_answers_refuse(a, raw, KL_ERR_UNSUPPORTED, "minContains",
                                     "is supported up to 64 in answers");
        if (raw->max_contains < node->max_items) /* no more items than may be contained */
            node->max_items = raw->max_contains;
    }
    n_prefix = contained > n_prefix ? contained : n_prefix;
    node->min_items = contained > node->min_items ? contained : node->min_items;
    if (n_prefix > node->max_items)
        n_prefix = node->max_items;
    if (node->min_items > node->max_items) {
        node->types &= (uint8_t)~KL_JSON_ARRAY;
        return KL_OK;
    }
    if (n_prefix > MAX_PREFIX)
        return kl_answers_refuse(a, node, KL_ERR_LIMIT, "prefixItems",
                                 "has more than 4096 schemas");
    return fill_items(a, alt, n_prefix, node);
}

enum kl_status kl_answers_merge(struct kl_answers *a, const struct kl_alternative *alt,
                                struct kl_schema_node *node)
{
    kl_schema_node_init(node);
    node->types = (uint8_t)alt->types;
    for (size_t i = 0; i < alt->n; i++)
        node->is_draft4 = node->is_draft4 || kl_raw(a, alt->applied[i])->is_draft4;
    if (alt->n != 0)
        node->path = kl_raw(a, alt->applied[0])->path;
    enum kl_status status = kl_answers_merge_strings(a, alt, node);
    if (status == KL_OK)
        status = kl_answers_merge_numbers(a, alt, node);
    if (status == KL_OK && (node->types & KL_JSON_ARRAY) != 0)
        status = merge_array(a, alt, node);
    if (status == KL_OK && (node->types & KL_JSON_OBJECT) != 0)
        status = kl_answers_merge_object(a, alt, node);
    return status;
}
