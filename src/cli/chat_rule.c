#include "cli/chat_rule.h"

#include <string.h>

#include "console/input.h"
#include "grammar/gbnf.h"
#include "grammar/regex_rule.h"
#include "schema/schema_text.h"

#define MAX_FILE ((size_t)4 << 20) /* bytes */

/* Compiles the text of a file. */
static enum kl_status from_file(const char *path,
                                enum kl_status (*compile)(const char *text, size_t len,
                                                          struct kl_rule **rule,
                                                          struct kl_error *err),
                                struct kl_rule **rule, struct kl_error *err)
{
    struct kl_buffer text;
    kl_buffer_init(&text, MAX_FILE);
    enum kl_status status = kl_read_text(path, &text, err);
    if (status == KL_OK) {
        status = compile(text.data, text.len, rule, err);
        if (status != KL_OK)
            kl_error_prefix(err, "%s", path);
    }
    kl_buffer_release(&text);
    return status;
}

enum kl_status kl_chat_rule(const struct kl_chat_rule_options *o, struct kl_rule **rule,
                            struct kl_error *err)
{
    *rule = NULL;
    if ((o->schema != NULL) + (o->grammar != NULL) + (o->regex != NULL) > 1)
        return kl_fail(err, KL_ERR_INVALID,
                       "--schema, --grammar and --regex each give a rule for the answer: expected "
                       "at most one of them");
    if (o->schema != NULL)
        return from_file(o->schema, kl_schema_text_rule, rule, err);
    if (o->grammar != NULL)
        return from_file(o->grammar, kl_gbnf_compile, rule, err);
    if (o->regex == NULL)
        return KL_OK;
    enum kl_status status = kl_regex_rule(o->regex, strlen(o->regex), rule, err);
    if (status != KL_OK)
        kl_error_prefix(err, "--regex");
    return status;
}
