/*
 * Reads the fields that give an answer a rule, and compiles it.
 *
 * `response_format`, `json_schema`, `grammar` (GBNF), `regex`, `choice` of /v1/chat/completions;
 * `schema` of /chat. Only one of them can be given; calls of tools are added to it (tool_calls.h).
 * A rule that was compiled before is taken from the cache of rules (grammar/rule_cache.h). Schemas
 * are read as answers (KL_SCHEMA_ANSWER). Worker's: compiling takes up to some milliseconds.
 */
#ifndef KL_API_RULE_FIELDS_H
#define KL_API_RULE_FIELDS_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/generation_request.h"

/* Both set request->rule if there is a field with a rule. A pattern, grammar or schema that is
 * wrong, too large or not supported is a 400 with the field, and the path and keyword of the
 * schema; 429: the rules of other requests take all memory. They read and set the input's
 * `thinking`: thoughts do not follow a rule, so they are switched off where the request does not
 * say, and refused where it switches them on. To be called after kl_answer_fields. */

/* The fields of /v1/chat/completions. */
enum kl_status kl_rule_fields(const json_t *body, struct kl_generation_request *request,
                              struct kl_api_error *error);

/* The field `schema` of /chat. */
enum kl_status kl_rule_schema_field(const json_t *body, struct kl_generation_request *request,
                                    struct kl_api_error *error);

/* ---- for other fields with rules ------------------------------------------------------------- */

typedef enum kl_status (*kl_rule_compiler)(const json_t *value, struct kl_rule **rule,
                                           struct kl_error *err);
/* Compiles a schema as an answer. */
enum kl_status kl_rule_of_schema(const json_t *value, struct kl_rule **rule, struct kl_error *err);

/* Finds the rule in the cache, or compiles it and keeps it there. rules: NULL: there is no cache.
 * kind: how it is compiled, for the key. *rule: a share; NULL on failure. */
enum kl_status kl_rule_get(const char *kind, kl_rule_compiler compile, const json_t *value,
                           struct kl_rule_cache *rules, struct kl_rule **rule,
                           struct kl_error *err);

/* Makes the error of a rule that could not be had one of the API. field: the parameter; where: it,
 * or a place in it, for the text. */
enum kl_status kl_rule_refuse(const char *field, const char *where, const struct kl_error *err,
                              struct kl_api_error *error);

/* Switches thoughts off for a rule that they do not follow, or refuses the request. */
enum kl_status kl_rule_without_thoughts(const char *field, struct kl_generation_request *request,
                                        struct kl_api_error *error);

#endif
