/*
 * A choice as a rule (rule.h): the answer is one of several texts.
 */
#ifndef KL_GRAMMAR_CHOICE_RULE_H
#define KL_GRAMMAR_CHOICE_RULE_H

#include <stddef.h>

#include "grammar/rule.h"

struct kl_choice_text {
    const char *text; /* copied */
    size_t len;
};

/* n: at least 1; texts may be empty and may be equal. KL_ERR_INVALID: there are none; KL_ERR_LIMIT:
 * more than 4 MiB; KL_ERR_MEMORY. */
enum kl_status kl_choice_rule(const struct kl_choice_text *texts, size_t n, struct kl_rule **rule,
                              struct kl_error *err);

#endif
