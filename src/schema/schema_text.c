#include "schema/schema_text.h"

#include "schema/schema.h"
#include "json/json_limits.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"

#define MAX_VALUES 1000000 /* of JSON; 4 MB of text have fewer */

enum kl_status kl_schema_text_rule(const char *text, size_t len, struct kl_rule **rule,
                                   struct kl_error *err)
{
    enum kl_status status = kl_json_check_limits(text, len, KL_SCHEMA_MAX_DEPTH, MAX_VALUES, err);
    if (status != KL_OK)
        return status;
    kl_json_memory_watch();
    json_error_t where;
    json_t *schema = kl_json_read(text, len, &where);
    if (kl_json_was_short())
        status = kl_fail_memory(err, "a schema", len);
    else if (schema == NULL)
        status = kl_fail(err, KL_ERR_FORMAT, "not valid JSON: %s (line %d, column %d)", where.text,
                         where.line, where.column);
    if (status == KL_OK)
        status = kl_schema_compile(schema, KL_SCHEMA_ANSWER, rule, NULL, err);
    json_decref(schema);
    return status;
}
