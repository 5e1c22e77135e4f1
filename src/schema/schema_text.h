/*
 * The text of a JSON schema to a rule for answers: for commands, which read schemas from files and
 * know no JSON.
 */
#ifndef KL_SCHEMA_SCHEMA_TEXT_H
#define KL_SCHEMA_SCHEMA_TEXT_H

#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

/* Reads the schema as KL_SCHEMA_ANSWER (schema.h). Before any other thread uses jansson.
 * KL_ERR_FORMAT: not JSON; else as kl_schema_compile. */
enum kl_status kl_schema_text_rule(const char *text, size_t len, struct kl_rule **rule,
                                   struct kl_error *err);

#endif
