/*
 * Tools of a request, for all dialects: what the prompt says of them, and the rule of the answer.
 *
 * A dialect reads its fields into struct kl_tools and calls kl_tools_apply, after the conversation
 * (request->input) and the field that gives the answer a rule (rule_fields.h). The answer's calls
 * then arrive at `call` of its format (service/dialect.h).
 *
 * With KL_TOOLS_AUTO the text of the answer is free until a call begins; a call that has begun is
 * one of a tool, with arguments that its schema allows (grammar/calls_rule.h). With
 * KL_TOOLS_REQUIRED the answer is calls only. A call that was made since the last message of the
 * user and whose result is there is not offered again; with KL_TOOLS_AUTO no call is, once each
 * tool was called, or one of them twice: small models would call for ever.
 *
 * Thread rule: the worker's.
 */
#ifndef KL_API_TOOL_CALLS_H
#define KL_API_TOOL_CALLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "http/api_error.h"
#include "service/generation_request.h"

#define KL_MAX_TOOLS 128

struct kl_tool {
    const char *name, *description; /* description: NULL: none */
    const json_t *parameters;       /* the schema of its arguments; NULL: it has none */
    const json_t *source;           /* the tool in OpenAI's form, for the prompt; NULL: made of the
                                       members above */
    bool is_hidden;                 /* in the prompt, but may not be called (allowed_tools) */
};

enum kl_tool_mode { KL_TOOLS_AUTO, KL_TOOLS_NONE, KL_TOOLS_REQUIRED };

struct kl_tools {
    struct kl_tool list[KL_MAX_TOOLS];
    size_t n;
    const char *field;  /* that lists them, for errors: "tools" */
    const char *schema; /* the member of an entry that is its schema: "function.parameters" */
    enum kl_tool_mode mode;
    bool is_single; /* at most one call; by default where a call is required */
};

/* Appends a tool after checking its name, its schema's type, and the limit. name: NULL or empty is
 * an error that names the entry. */
enum kl_status kl_tools_add(struct kl_tools *tools, const struct kl_tool *tool,
                            struct kl_api_error *error);

/* Demands calls of that tool only. choice: the field, for the error if there is no such tool. */
enum kl_status kl_tools_demand(struct kl_tools *tools, const char *name, const char *choice,
                               struct kl_api_error *error);

/* Reads OpenAI's form, [{"type": "function", "function": {...}}], or the flat one of its Responses
 * API, [{"type": "function", "name": ...}], of an array; NULL: no tools. *tools is initialised. */
enum kl_status kl_tools_read(const json_t *array, struct kl_tools *tools,
                             struct kl_api_error *error);

/* Reads OpenAI's `tool_choice` (NULL or null: auto) in both of its forms: "auto", "none",
 * "required", an object of that type, a function, allowed_tools. */
enum kl_status kl_tools_read_choice(const json_t *choice, struct kl_tools *tools,
                                    struct kl_api_error *error);

/* The older `function_call`: "auto", "none", {"name": "..."}. */
enum kl_status kl_tools_read_function_call(const json_t *choice, struct kl_tools *tools,
                                           struct kl_api_error *error);

/* Reads OpenAI's `parallel_tool_calls`, after the choice. By default the model may make several
 * calls where it makes them by itself, and makes one where a call is demanded: a small model cannot
 * tell that it is done. */
enum kl_status kl_tools_read_parallel(const json_t *body, struct kl_tools *tools,
                                      struct kl_api_error *error);

/* Sets r->input.tools, r->rule and r->call_names. The tools' strings belong to r->source (an array
 * of kl_keep_json). A rule that r has is what the answer follows without a call. A schema that is
 * refused is a 400 that names the tool and the place in its schema. */
enum kl_status kl_tools_apply(const struct kl_tools *tools, struct kl_generation_request *r,
                              struct kl_api_error *error);

#endif
