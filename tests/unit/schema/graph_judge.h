/*
 * The meaning of a graph of nodes (schema_nodes.h), as plainly as it can be written: judges a
 * parsed value by recursion. Slow; for tests of the parser and of the schema of answers.
 */
#ifndef GRAPH_JUDGE_H
#define GRAPH_JUDGE_H

#include <jansson.h>

#include "schema/schema_nodes.h"

bool graph_allows(const struct kl_schema_graph *graph, const json_t *value);

/* Reads JSON that is written with apostrophes; the caller releases it. Fails the test if it is not
 * JSON. */
json_t *json_of(const char *text);

#endif
