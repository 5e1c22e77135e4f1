/*
 * Parses a JSON schema to a graph of nodes (schema_nodes.h).
 *
 * The draft is that of `$schema`; without it, or if it is unknown, the keywords of all drafts are
 * understood. Keywords that a draft does not have are annotations, as the specification says.
 * Internal to schema/.
 */
#ifndef KL_SCHEMA_SCHEMA_PARSER_H
#define KL_SCHEMA_SCHEMA_PARSER_H

#include <jansson.h>

#include "schema/schema.h"
#include "schema/schema_nodes.h"

/* schema: an object or a boolean; not used after the call. Errors are those of kl_schema_compile;
 * *graph is empty after one. refusal and err may be NULL. */
enum kl_status kl_schema_parse(const json_t *schema, struct kl_schema_graph *graph,
                               struct kl_schema_refusal *refusal, struct kl_error *err);
void kl_schema_graph_release(struct kl_schema_graph *graph);

#endif
