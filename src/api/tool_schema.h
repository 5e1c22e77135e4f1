/*
 * The schemas of calls of tools, made of what clients send as `parameters`.
 */
#ifndef KL_API_TOOL_SCHEMA_H
#define KL_API_TOOL_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/tool_calls.h"

/* Returns the schema of the arguments of the i-th tool. References in it are to itself, so it is
 * made a schema with an id of its own. A frequent mistake is mended, which other servers do not
 * notice, since they do not hold answers to the schema: {"type": "array", "enum": ["a", "b"]} of a
 * property is meant for its items. NULL: no memory. */
json_t *kl_tool_arguments(const struct kl_tool *tool, size_t i);

/* Returns the schema of a call of the i-th tool: an object with its name and arguments. key: their
 * name, "arguments". */
json_t *kl_tool_call(const struct kl_tool *tool, size_t i, const char *key);

/* Returns whether a value of `type` (NULL: none) lets arguments be an object. */
bool kl_type_allows_object(const json_t *type);

#endif
