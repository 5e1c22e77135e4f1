/*
 * A regular expression as a rule (rule.h): the whole answer matches it.
 */
#ifndef KL_GRAMMAR_REGEX_RULE_H
#define KL_GRAMMAR_REGEX_RULE_H

#include <stddef.h>

#include "grammar/rule.h"

/* Syntax, limits and errors: as kl_regex_compile (regex.h). A pattern that no text matches is
 * refused: KL_ERR_INVALID. */
enum kl_status kl_regex_rule(const char *pattern, size_t len, struct kl_rule **rule,
                             struct kl_error *err);

#endif
