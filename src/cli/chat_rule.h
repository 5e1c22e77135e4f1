/*
 * The rule that the answers of `kinglet chat` follow, from its options.
 */
#ifndef KL_CLI_CHAT_RULE_H
#define KL_CLI_CHAT_RULE_H

#include "base/error.h"
#include "grammar/rule.h"

/* At most one of them; NULL: not given. */
struct kl_chat_rule_options {
    const char *schema;  /* a file with a JSON schema; "-": standard input */
    const char *grammar; /* a file with a GBNF grammar; likewise */
    const char *regex;   /* a regular expression */
};

/* Sets *rule, NULL without options. The text of an error begins with the option or the file. */
enum kl_status kl_chat_rule(const struct kl_chat_rule_options *options, struct kl_rule **rule,
                            struct kl_error *err);

#endif
