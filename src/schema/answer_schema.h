/*
 * Rewrites the graph of a schema for answers, so that a machine that refuses a byte as soon as the
 * value cannot become valid never gets stuck.
 *
 * Internal to schema/.
 */
#ifndef KL_SCHEMA_ANSWER_SCHEMA_H
#define KL_SCHEMA_ANSWER_SCHEMA_H

#include "schema/schema.h"
#include "schema/schema_nodes.h"

/* graph: of kl_schema_parse; to be released also after an error. Errors are those of
 * kl_schema_compile. refusal and err may be NULL. */
enum kl_status kl_schema_for_answers(struct kl_schema_graph *graph,
                                     struct kl_schema_refusal *refusal, struct kl_error *err);

#endif
