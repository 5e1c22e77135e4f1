/*
 * JSON Schema to a rule (grammar/rule.h).
 *
 * Drafts 4, 6, 7, 2019-09 and 2020-12. A keyword that asserts something and is not supported is
 * refused with its path; nothing is accepted and then not enforced. Annotations are ignored.
 *
 * A rule has two readings. KL_SCHEMA_JUDGE is the specification: properties in any order,
 * additional ones where the schema does not forbid them, any whitespace. KL_SCHEMA_ANSWER is a
 * subset for what a model writes: properties in the order of the schema, none that the schema does
 * not name unless it allows them explicitly, one space after ':' and ',', none elsewhere; and it
 * never gets stuck: each state can be continued to a valid document. A schema for which that cannot
 * be had is refused.
 */
#ifndef KL_SCHEMA_SCHEMA_H
#define KL_SCHEMA_SCHEMA_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

enum kl_schema_reading { KL_SCHEMA_JUDGE, KL_SCHEMA_ANSWER };

/* Names what was refused. */
struct kl_schema_refusal {
    char path[256];   /* of the subschema: "#/properties/a"; cut if longer */
    char keyword[64]; /* "" if there is none */
};

/* Limits, each against a schema that is made to cost: text, nesting, nodes, bytes of the rule. */
#define KL_SCHEMA_MAX_DEPTH 128
#define KL_SCHEMA_MAX_NODES 100000
#define KL_SCHEMA_MAX_BYTES ((size_t)64 << 20)

/* schema: an object or a boolean; not used after the call. KL_ERR_INVALID: not a schema;
 * KL_ERR_UNSUPPORTED: a keyword; KL_ERR_LIMIT: over a limit by name; KL_ERR_MEMORY. The text of
 * *err contains path and keyword. refusal: may be NULL. Worker's: takes up to some milliseconds. */
enum kl_status kl_schema_compile(const json_t *schema, enum kl_schema_reading reading,
                                 struct kl_rule **rule, struct kl_schema_refusal *refusal,
                                 struct kl_error *err);

/* The rule of any JSON value; object: of any JSON object. */
enum kl_status kl_schema_any(bool object, enum kl_schema_reading reading, struct kl_rule **rule,
                             struct kl_error *err);

#endif
