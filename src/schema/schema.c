#include "schema/schema.h"

#include <stdlib.h>

#include "schema/answer_schema.h"
#include "schema/schema_machine.h"
#include "schema/schema_parser.h"

static void free_rule(struct kl_rule *rule)
{
    struct kl_schema_rule *r = (struct kl_schema_rule *)rule;
    kl_schema_graph_release(&r->graph);
    free(r);
}

static const struct kl_rule_kind schema_kind = {
    .name = "schema", .open = kl_schema_machine_open, .free = free_rule};

/* Parses, and rewrites for answers. */
static enum kl_status make_graph(const json_t *schema, enum kl_schema_reading reading,
                                 struct kl_schema_graph *graph, struct kl_schema_refusal *refusal,
                                 struct kl_error *err)
{
    enum kl_status status = kl_schema_parse(schema, graph, refusal, err);
    if (status == KL_OK && reading == KL_SCHEMA_ANSWER)
        status = kl_schema_for_answers(graph, refusal, err);
    return status;
}

enum kl_status kl_schema_compile(const json_t *schema, enum kl_schema_reading reading,
                                 struct kl_rule **rule, struct kl_schema_refusal *refusal,
                                 struct kl_error *err)
{
    struct kl_schema_refusal unwanted;
    struct kl_schema_rule *r = calloc(1, sizeof *r);
    *rule = NULL;
    if (r == NULL)
        return kl_fail_memory(err, "a schema", sizeof *r);
    if (refusal == NULL)
        refusal = &unwanted;
    *refusal = (struct kl_schema_refusal){0};
    enum kl_status status = make_graph(schema, reading, &r->graph, refusal, err);
    if (status != KL_OK) {
        kl_schema_graph_release(&r->graph);
        free(r);
        return status;
    }
    kl_rule_init(&r->rule, &schema_kind);
    r->reading = reading;
    r->rule.n_states = r->graph.n_nodes;
    r->rule.bytes = sizeof *r + r->graph.bytes;
    *rule = &r->rule;
    return KL_OK;
}

enum kl_status kl_schema_any(bool object, enum kl_schema_reading reading, struct kl_rule **rule,
                             struct kl_error *err)
{
    json_t *schema =
        object ? json_pack("{s:s, s:b}", "type", "object", "additionalProperties", 1) : json_true();
    if (schema == NULL)
        return kl_fail_memory(err, "a schema", 64);
    enum kl_status status = kl_schema_compile(schema, reading, rule, NULL, err);
    json_decref(schema);
    return status;
}
