/*
 * Reads the fields that give an answer a rule, and compiles it.
 *
 * `response_format`, `json_schema`, `grammar` (GBNF), `regex`, `choice` of /v1/chat/completions;
 * `schema` of /chat; and a `tool_choice` that demands a call. Only one of them can be given. A rule
 * that was compiled before is taken from the cache of rules (grammar/rule_cache.h). Schemas are
 * read as answers (KL_SCHEMA_ANSWER). Worker's: compiling takes up to some milliseconds.
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

/* The fields of /v1/chat/completions. calls: of kl_tool_choice_field (tool_calls.h). */
enum kl_status kl_rule_fields(const json_t *body, const json_t *calls,
                              struct kl_generation_request *request, struct kl_api_error *error);

/* The field `schema` of /chat. */
enum kl_status kl_rule_schema_field(const json_t *body, struct kl_generation_request *request,
                                    struct kl_api_error *error);

#endif
