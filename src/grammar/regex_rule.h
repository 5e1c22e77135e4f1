/*
 * Rules (rule.h) of a regular expression, and of a choice of strings. The whole answer matches, as
 * raw text.
 */
#ifndef KL_GRAMMAR_REGEX_RULE_H
#define KL_GRAMMAR_REGEX_RULE_H

#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

/* Limits of a choice: of its strings, and of all their bytes. */
#define KL_CHOICE_MAX_STRINGS 100000
#define KL_CHOICE_MAX_BYTES   ((size_t)1 << 20)

/* Errors are those of kl_regex_compile (regex.h); KL_ERR_INVALID also if no text matches. A machine
 * fails with KL_ERR_LIMIT if the answer needs too many states of the automaton. */
enum kl_status kl_regex_rule(const char *pattern, size_t len, struct kl_rule **rule,
                             struct kl_error *err);

/* choices: [n] strings, copied; they may repeat, be empty, or begin with each other.
 * KL_ERR_INVALID: n is 0; KL_ERR_LIMIT; KL_ERR_MEMORY. */
enum kl_status kl_choice_rule(const char *const *choices, size_t n, struct kl_rule **rule,
                              struct kl_error *err);

#endif
