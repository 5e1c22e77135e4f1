#include "schema/string_set.h"

#include <stdlib.h>
#include <string.h>

struct sorted_text {
    struct kl_schema_text text;
    uint32_t place;
};

static int compare(const void *a, const void *b)
{
    const struct sorted_text *x = a, *y = b;
    uint32_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
    int order = n == 0 ? 0 : memcmp(x->text.bytes, y->text.bytes, n);
    if (order == 0 && x->text.len != y->text.len)
        order = x->text.len < y->text.len ? -1 : 1;
    if (order == 0)
        order = x->place < y->place ? -1 : 1;
    return order;
}

static bool equal(const struct kl_schema_text *a, const struct kl_schema_text *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

static enum kl_status sort(struct kl_string_set *set, const struct kl_schema_text *texts, size_t n,
                           struct kl_error *err)
{
    struct sorted_text *all = malloc((n + 1) * sizeof *all);
    set->sorted = malloc((n + 1) * sizeof *set->sorted);
    set->place = malloc((n + 1) * sizeof *set->place);
    if (all == NULL || set->sorted == NULL || set->place == NULL) {
        free(all);
        return kl_fail_memory(err, "a set of strings", n * sizeof *all);
    }
    for (size_t i = 0; i < n; i++)
        all[i] = (struct sorted_text){.text = texts[i], .place = (uint32_t)i};
    qsort(all, n, sizeof *all, compare);
    for (size_t i = 0; i < n; i++) {
        if (set->n > 0 && equal(&all[i].text, &set->sorted[set->n - 1]))
            continue;
        set->place[set->n] = all[i].place;
        set->sorted[set->n++] = all[i].text;
    }
    free(all);
    return KL_OK;
}

/* Gives node its children: depth bytes lead to it. Nodes are made breadth first, so children of one
 * node are neighbours. */
static void add_children(struct kl_string_set *set, struct kl_string_set_node *node, uint32_t depth)
{
    uint32_t i = node->first, end = node->first + node->n;
    node->first_child = (uint32_t)set->n_nodes;
    if (i < end && set->sorted[i].len == depth) {
        node->ends = true;
        i++;
    }
    while (i < end) {
        uint8_t byte = (uint8_t)set->sorted[i].bytes[depth];
        struct kl_string_set_node child = {.first = i, .byte = byte};
        while (i < end && (uint8_t)set->sorted[i].bytes[depth] == byte)
            i++;
        child.n = i - child.first;
        set->nodes[set->n_nodes++] = child;
        node->n_children++;
    }
}

enum kl_status kl_string_set_build(struct kl_string_set *set, const struct kl_schema_text *texts,
                                   size_t n, struct kl_error *err)
{
    *set = (struct kl_string_set){0};
    if (sort(set, texts, n, err) != KL_OK)
        return KL_ERR_MEMORY;
    size_t most = 1;
    for (size_t i = 0; i < set->n; i++)
        most += set->sorted[i].len;
    set->nodes = malloc(most * sizeof *set->nodes);
    if (set->nodes == NULL)
        return kl_fail_memory(err, "a set of strings", most * sizeof *set->nodes);
    set->nodes[set->n_nodes++] = (struct kl_string_set_node){.n = (uint32_t)set->n};
    size_t level_end = 1;
    uint32_t depth = 0;
    for (size_t i = 0; i < set->n_nodes; i++) {
        if (i == level_end) {
            level_end = set->n_nodes;
            depth++;
        }
        add_children(set, &set->nodes[i], depth);
    }
    return KL_OK;
}

size_t kl_string_set_find(const struct kl_string_set *set, struct kl_schema_text text)
{
    uint32_t node = 0;
    for (uint32_t i = 0; i < text.len; i++)
        node = kl_string_set_step(set, node, (uint8_t)text.bytes[i]);
    return set->nodes[node].first;
}

void kl_string_set_release(struct kl_string_set *set)
{
    free(set->nodes);
    free(set->sorted);
    free(set->place);
    *set = (struct kl_string_set){0};
}

size_t kl_string_set_bytes(const struct kl_string_set *set)
{
    return set->n_nodes * sizeof *set->nodes + set->n * (sizeof *set->sorted + sizeof *set->place);
}
