#include <stdlib.h>

#include "schema/answer_parts.h"
#include "schema/schema_parse.h"

enum kl_status kl_answers_refuse(struct kl_answers *a, const struct kl_schema_node *node,
                                 enum kl_status status, const char *keyword, const char *text)
{
    return kl_schema_refuse_at(a->refusal, a->err, status, node->path, keyword, "%s", text);
}

bool kl_raw_has_logic(const struct kl_schema_node *node)
{
    return node->all_of.n + node->any_of.n + node->one_of.n != 0 || node->not_node != KL_NO_NODE ||
           node->if_node != KL_NO_NODE;
}

static bool asserts_strings(const struct kl_schema_node *node)
{
    return node->min_length != 0 || node->max_length != UINT32_MAX || node->regexes.n != 0 ||
           node->strings >= 0;
}

static bool asserts_others(const struct kl_schema_node *node)
{
    return node->bounds >= 0 || node->has_numbers || node->properties.n != 0 ||
           node->patterns.n != 0 || node->additional != KL_NO_NODE ||
           node->property_names != KL_NO_NODE || node->required.n != 0 ||
           node->min_properties != 0 || node->max_properties != UINT32_MAX || node->prefix.n != 0 ||
           node->items != KL_NO_NODE || node->contains != KL_NO_NODE || node->min_items != 0 ||
           node->max_items != UINT32_MAX || node->unique_items || node->is_closed || node->is_open;
}

bool kl_raw_is_trivial(const struct kl_schema_node *node)
{
    return node->types == KL_JSON_ANY && !asserts_strings(node) && !asserts_others(node) &&
           !kl_raw_has_logic(node);
}

bool kl_raw_is_primitive(const struct kl_schema_node *node)
{
    return node->types == KL_JSON_ANY && !asserts_others(node) && !kl_raw_has_logic(node) &&
           node->min_length == 0 && node->max_length == UINT32_MAX &&
           node->regexes.n + (node->strings >= 0) == 1;
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Sorts, and drops what is there twice or asserts nothing. */
static size_t tidy(const struct kl_answers *a, int32_t *nodes, size_t n)
{
    size_t kept = 0;
    if (n > 1)
        qsort(nodes, n, sizeof(*nodes), compare);
    for (size_t i = 0; i < n; i++)
        if ((kept == 0 || nodes[kept - 1] != nodes[i]) && !kl_raw_is_trivial(kl_raw(a, nodes[i])))
            nodes[kept++] = nodes[i];
    return kept;
}

enum kl_status kl_answers_node(struct kl_answers *a, int32_t *nodes, size_t n, int32_t *node)
{
    n = tidy(a, nodes, n);
    uint32_t entry = kl_word_store_put(&a->sets, (const uint32_t *)nodes, n);
    if (entry == 0)
        return kl_fail(a->err, a->sets.failure, "the schema is too large to be rewritten");
    uint32_t known = *kl_word_store_value(&a->sets, entry);
    if (known != 0) {
        *node = (int32_t)known - 1;
        return KL_OK;
    }
    if (a->n_jobs == a->room_jobs) {
        size_t wider = a->room_jobs == 0 ? 64 : 2 * a->room_jobs;
        void *grown = realloc(a->jobs, wider * sizeof(*a->jobs));
        if (grown == NULL)
            return kl_fail_memory(a->err, "a schema", wider * sizeof(*a->jobs));
        a->jobs = grown;
        a->room_jobs = wider;
    }
    struct kl_schema_node made;
    kl_schema_node_init(&made);
    if (n != 0)
        made.path = kl_raw(a, nodes[0])->path;
    enum kl_status status = kl_schema_add_node(&a->builder, &made, node);
    if (status != KL_OK)
        return status;
    *kl_word_store_value(&a->sets, entry) = (uint32_t)*node + 1;
    a->jobs[a->n_jobs++] = (struct kl_answer_job){.set = entry, .node = *node};
    return KL_OK;
}

enum kl_status kl_answers_free_node(struct kl_answers *a, int32_t *nodes, size_t n, int32_t *node)
{
    n = tidy(a, nodes, n);
    *node = KL_NO_NODE;
    return n == 0 ? KL_OK : kl_answers_node(a, nodes, n, node);
}
