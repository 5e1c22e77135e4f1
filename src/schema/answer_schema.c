#include "schema/answer_schema.h"

#include <stdlib.h>
#include <string.h>

#include "schema/answer_parts.h"

#define MAX_STORE_BYTES ((size_t)32 << 20)

/* The nodes of the alternatives of one set. */
struct alternatives {
    int32_t nodes[KL_ANSWER_MAX_ALTERNATIVES + 1];
    size_t n;
};

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The node of an alternative: the same one for the same raw nodes. */
static enum kl_status add_alternative(struct kl_answers *a, const struct kl_alternative *alt,
                                      void *context)
{
    struct alternatives *alternatives = context;
    int32_t sorted[KL_ANSWER_MAX_APPLIED + 1], node = KL_NO_NODE;
    memcpy(sorted, alt->applied, alt->n * sizeof(*sorted));
    qsort(sorted, alt->n, sizeof(*sorted), compare);
    sorted[alt->n] = (int32_t)alt->types;
    uint32_t entry = kl_word_store_put(&a->atoms, (const uint32_t *)sorted, alt->n + 1);
    if (entry == 0)
        return kl_fail(a->err, a->atoms.failure, "the schema is too large to be rewritten");
    uint32_t known = *kl_word_store_value(&a->atoms, entry);
    if (known == 0) {
        struct kl_schema_node merged;
        enum kl_status status = kl_answers_merge(a, alt, &merged);
        if (status == KL_OK)
            status = kl_schema_add_node(&a->builder, &merged, &node);
        if (status != KL_OK)
            return status;
        *kl_word_store_value(&a->atoms, entry) = (uint32_t)node + 1;
    } else {
        node = (int32_t)known - 1;
    }
    if (a->graph->nodes[node].types == 0)
        return KL_OK;
    for (size_t i = 0; i < alternatives->n; i++)
        if (alternatives->nodes[i] == node)
            return KL_OK;
    alternatives->nodes[alternatives->n++] = node;
    return KL_OK;
}

static enum kl_status rewrite(struct kl_answers *a, struct kl_answer_job job)
{
    size_t n;
    const uint32_t *words = kl_word_store_get(&a->sets, job.set, &n);
    int32_t *set = malloc((n + 1) * sizeof(*set));
    if (set == NULL)
        return kl_fail_memory(a->err, "a schema", n * sizeof(*set));
    memcpy(set, words, n * sizeof(*set));
    struct alternatives alternatives = {.n = 0};
    enum kl_status status = kl_answers_expand(a, set, n, false, add_alternative, &alternatives);
    if (status == KL_ERR_LIMIT && a->steps < KL_ANSWER_MAX_STEPS) {
        alternatives.n = 0;
        status = kl_answers_expand(a, set, n, true, add_alternative, &alternatives);
    }
    free(set);
    struct kl_range range = {0};
    if (status == KL_OK && alternatives.n > 1)
        status = kl_schema_add_node_list(&a->builder, alternatives.nodes, alternatives.n, &range);
    if (status != KL_OK)
        return status;
    struct kl_schema_node *node = &a->graph->nodes[job.node];
    if (alternatives.n == 0)
        node->types = 0;
    else if (alternatives.n == 1)
        *node = a->graph->nodes[alternatives.nodes[0]];
    else
        node->any_of = range;
    return KL_OK;
}

static enum kl_status rewrite_all(struct kl_answers *a)
{
    int32_t root = a->graph->root;
    enum kl_status status = kl_answers_node(a, &root, 1, &a->graph->root);
    for (size_t i = 0; i < a->n_jobs && status == KL_OK; i++)
        status = rewrite(a, a->jobs[i]);
    return status == KL_OK ? kl_answers_prune(a) : status;
}

enum kl_status kl_schema_for_answers(struct kl_schema_graph *graph,
                                     struct kl_schema_refusal *refusal, struct kl_error *err)
{
    struct kl_answers a = {.graph = graph, .refusal = refusal, .err = err, .n_raw = graph->n_nodes};
    kl_word_store_init(&a.sets, MAX_STORE_BYTES);
    kl_word_store_init(&a.atoms, MAX_STORE_BYTES);
    kl_word_store_init(&a.products, MAX_STORE_BYTES);
    enum kl_status status = kl_schema_builder_open(&a.builder, graph, err);
    if (status == KL_OK)
        status = rewrite_all(&a);
    kl_schema_builder_close(&a.builder);
    kl_word_store_free(&a.sets);
    kl_word_store_free(&a.atoms);
    kl_word_store_free(&a.products);
    for (size_t i = 0; i < a.n_runs; i++) {
        kl_regex_run_close(a.runs[i].run);
        kl_regex_count_release(&a.runs[i].count);
    }
    free(a.runs);
    free(a.jobs);
    free(a.negations);
    if (status == KL_OK && refusal != NULL) /* of what was tried first */
        *refusal = (struct kl_schema_refusal){0};
    graph->is_for_answers = status == KL_OK;
    return status;
}
