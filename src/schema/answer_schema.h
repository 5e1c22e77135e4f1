/*
 * Rewrites the graph of a schema for answers, so that its machine never gets stuck. Internal to
 * schema/.
 */
#ifndef KL_SCHEMA_ANSWER_SCHEMA_H
#define KL_SCHEMA_ANSWER_SCHEMA_H

#include "schema/schema.h"
#include "schema/schema_nodes.h"

enum kl_status kl_schema_for_answers(const struct kl_schema_graph *in, struct kl_schema_graph *out,
                                     struct kl_schema_refusal *refusal, struct kl_error *err);

#endif
