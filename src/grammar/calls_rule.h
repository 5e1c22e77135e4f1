/*
 * The rule (rule.h) of answers that may call tools, or must.
 *
 * A call is an object of a name and arguments, for which there is a rule already. It is written
 * between tags, as Qwen2.5 was trained to; some models write it bare, as the first text of the
 * answer, or in a fence instead:
 *
 *     <tool_call>                       ```json
 *     {"name": ..., "arguments": ...}   {"name": ..., "arguments": ...}
 *     </tool_call>                      ```
 *
 * Where calls are demanded, the answer is calls between tags and nothing else. Otherwise text is
 * free until a call begins: at the opening tag; without tags only behind the name of a tool, since
 * the JSON that a user asked for also begins with a brace. In the beginning any whitespace is
 * allowed; behind it that of the rule of calls, or, where an object began with a line break, what
 * an indented one has. From there on the answer is calls of this form, and ends. So each call that
 * has begun is one that its tool accepts.
 *
 * Calls that are not offered again are excluded by their text: the byte is refused behind which
 * nothing else could be written.
 */
#ifndef KL_GRAMMAR_CALLS_RULE_H
#define KL_GRAMMAR_CALLS_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

/* Limits: tools, calls that are excluded, bytes of a name as JSON, bytes of an excluded call. A
 * longer one is not excluded. */
#define KL_CALLS_MAX_NAMES    256
#define KL_CALLS_MAX_EXCLUDED 31
#define KL_CALLS_MAX_NAME     1024
#define KL_CALLS_MAX_TEXT     4095

struct kl_calls {
    struct kl_rule *call;     /* of one object, which begins with {"name": "..." */
    const char *const *names; /* [n_names] of the tools, as JSON: with quotes */
    size_t n_names;
    const char *const *excluded; /* [n_excluded] objects, as the rule of calls writes them */
    size_t n_excluded;
    bool is_demanded; /* the answer is one call or several */
    bool is_single;   /* one call at most */
    bool is_bare;     /* a call that is demanded has no tags */
    bool is_over;     /* no call: the answer is a text, which has no tag, and does not begin
                       * as a call does, with a brace or a fence */
    struct kl_rule *otherwise; /* that the answer follows without a call; NULL: it is free */
};

/* Copies the texts and holds the rules. Excluded calls that the rule does not write change nothing.
 * If all calls are excluded: there are none, or they are offered all the same where one is
 * demanded. KL_ERR_INVALID: without names, or `otherwise` may begin like a tag; KL_ERR_LIMIT:
 * names; KL_ERR_MEMORY; errors of opening a machine. */
enum kl_status kl_calls_rule(const struct kl_calls *calls, struct kl_rule **rule,
                             struct kl_error *err);

#endif
