/*
 * Subschemas that apply to the same value must not form a circle, and no chain of them may be too
 * long: following them would not end.
 */
#include <stdlib.h>

#include "schema/schema_parse.h"

enum { NEW = 0, OPEN = UINT16_MAX }; /* else: the length of the longest chain from here */

struct walk {
    struct step {
        int32_t node;
        uint32_t next;   /* edge to follow */
        uint16_t length; /* of the longest chain so far */
    } steps[KL_SCHEMA_MAX_CHAIN];
    size_t n;
    uint16_t *state; /* of each node */
};

/* Returns the i-th node that applies to the same value, or KL_NO_NODE; *is_end:
 * there are no more. */
static int32_t edge(const struct kl_schema_graph *graph, int32_t index, uint32_t i, bool *is_end)
{
    const struct kl_schema_node *node = &graph->nodes[index];
    const struct kl_range ranges[] = {node->all_of, node->any_of, node->one_of};
    const int32_t singles[] = {node->not_node, node->if_node, node->then_node, node->else_node};
    *is_end = false;
    for (size_t r = 0; r < sizeof(ranges) / sizeof(*ranges); r++) {
        if (i < ranges[r].n)
            return graph->node_lists[ranges[r].first + i];
        i -= ranges[r].n;
    }
    if (i < sizeof(singles) / sizeof(*singles))
        return singles[i];
    *is_end = true;
    return KL_NO_NODE;
}

static enum kl_status refuse_length(struct kl_schema_parser *p, int32_t node)
{
    return kl_schema_refuse_at(p->refusal, p->err, KL_ERR_LIMIT, p->graph->nodes[node].path, "",
                               "begins a chain of more than %d subschemas for the same value",
                               KL_SCHEMA_MAX_CHAIN);
}

/* Follows all chains from one node. */
static enum kl_status follow(struct kl_schema_parser *p, struct walk *walk, int32_t from)
{
    const struct kl_schema_graph *graph = p->graph;
    walk->steps[0] = (struct step){.node = from};
    walk->n = 1;
    walk->state[from] = OPEN;
    while (walk->n > 0) {
        struct step *step = &walk->steps[walk->n - 1];
        bool is_end;
        int32_t next = edge(graph, step->node, step->next, &is_end);
        if (is_end) {
            walk->state[step->node] = (uint16_t)(step->length + 1);
            walk->n--;
            continue;
        }
        uint16_t state = next == KL_NO_NODE ? NEW : walk->state[next];
        if (state == OPEN)
            return kl_schema_refuse_at(p->refusal, p->err, KL_ERR_INVALID, graph->nodes[next].path,
                                       "$ref",
                                       "leads back to itself for the same value, by way of %.100s",
                                       graph->nodes[step->node].path);
        if (next != KL_NO_NODE && state == NEW) { /* the edge is looked at again after it */
            if (walk->n == KL_SCHEMA_MAX_CHAIN)
                return refuse_length(p, from);
            walk->state[next] = OPEN;
            walk->steps[walk->n++] = (struct step){.node = next};
            continue;
        }
        if (state > step->length)
            step->length = state;
        if (step->length >= KL_SCHEMA_MAX_CHAIN)
            return refuse_length(p, step->node);
        step->next++;
    }
    return KL_OK;
}

enum kl_status kl_schema_check_cycles(struct kl_schema_parser *p)
{
    struct walk walk = {.state = calloc(p->graph->n_nodes + 1, sizeof(*walk.state))};
    if (walk.state == NULL)
        return kl_fail_memory(p->err, "a schema", p->graph->n_nodes);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < p->graph->n_nodes && status == KL_OK; i++)
        if (walk.state[i] == NEW)
            status = follow(p, &walk, (int32_t)i);
    free(walk.state);
    return status;
}
