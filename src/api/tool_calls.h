/*
 * Calls of tools that a request demands: `tool_choice` as a rule, and the answer as OpenAI's
 * `tool_calls`.
 *
 * The models that are served write a call as Qwen2.5 was trained to:
 *
 *     <tool_call>
 *     {"name": "...", "arguments": {...}}
 *     </tool_call>
 *
 * Where a call is demanded, the rule allows nothing else: exactly one call, of one of the tools,
 * with arguments that its schema allows. An answer in which the model may call a tool, but need
 * not, is text (tool_choice "auto").
 */
#ifndef KL_API_TOOL_CALLS_H
#define KL_API_TOOL_CALLS_H

#include <jansson.h>

#include "grammar/rule.h"
#include "http/api_error.h"
#include "service/generation.h"

/* Reads `tool_choice`: "none" sets *tools to NULL; "required" and a function by name set *calls to
 * a schema of all calls that are allowed, a new reference; otherwise it is NULL. *tools: an array
 * that kl_chat_input_parse accepts, or NULL. */
enum kl_status kl_tool_choice_field(const json_t *body, const json_t **tools, json_t **calls,
                                    struct kl_api_error *error);

/* Makes the rule of the answer of that of the JSON object; takes over the caller's share of it. */
enum kl_status kl_tool_call_rule(struct kl_rule *object, struct kl_rule **rule,
                                 struct kl_error *err);

/* Returns the `tool_calls` of an answer, an array with its one call, whose arguments are cut where
 * the answer was; NULL if the answer was cut before them, or memory is short. */
json_t *kl_tool_calls_json(const struct kl_generation *g, size_t choice);

#endif
