/*
 * The rule (rule.h) of free text with ruled parts: text is free until a trigger begins a part that
 * follows a rule of its own, and free again after it.
 *
 * Free text may be any bytes, and the answer may end anywhere in it. Of triggers that end at the
 * same byte, the longest one begins its part; a trigger that only begins the answer goes first. The
 * trigger that is complete first begins: of "<a" and "<ab", always "<a".
 *
 * A ruled part with an end text ends where its rule is complete and the end text follows. Both ways
 * are followed at once, the rule going on and the end text, until one is excluded, and the end text
 * wins. An end text that overlaps itself ("aab" after "a") is not found where its first bytes also
 * belong to the ruled part. Without an end text, a part goes on while its rule allows the next
 * byte.
 */
#ifndef KL_GRAMMAR_TRIGGERS_H
#define KL_GRAMMAR_TRIGGERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

struct kl_trigger {
    const char *begin; /* "<tool_call>", "```json\n", "{": not empty */
    bool only_first;   /* only at the start of the answer, after optional whitespace */
    struct kl_rule *rule;
    const char *end;     /* must follow the ruled part: "</tool_call>", "\n```"; "": nothing */
    bool begin_is_ruled; /* the bytes of `begin` are the first ones of the ruled part, as '{' is */
};

/* Limits of the tables: triggers, and the bytes of all begins and ends. */
#define KL_TRIGGERS_MAX       64
#define KL_TRIGGERS_MAX_BYTES 4096

/* The texts are copied and the rules are held, so that the caller still owns its share of each.
 * KL_ERR_INVALID: no trigger, an empty or repeated begin, one that is only first
 * and begins with whitespace, a ruled part that does not begin with its
 * trigger, triggers within triggers; KL_ERR_LIMIT; KL_ERR_MEMORY; errors of opening a machine. */
enum kl_status kl_triggers_rule(const struct kl_trigger *triggers, size_t n, struct kl_rule **rule,
                                struct kl_error *err);

#endif
