/*
 * A rule between two fixed texts: `before`, what the inner rule allows, `behind`.
 *
 * Where the inner rule is complete and allows the first byte of `behind` as well, the byte belongs
 * to the inner rule. So `behind` should not begin like a continuation: a line break after a JSON
 * object does not.
 */
#ifndef KL_GRAMMAR_WRAPPED_RULE_H
#define KL_GRAMMAR_WRAPPED_RULE_H

#include "grammar/rule.h"

/* Takes over the caller's share of inner, also if it fails. The texts, each without NUL and at most
 * 64 bytes long, are copied. KL_ERR_MEMORY. */
enum kl_status kl_wrapped_rule(const char *before, struct kl_rule *inner, const char *behind,
                               struct kl_rule **rule, struct kl_error *err);

#endif
