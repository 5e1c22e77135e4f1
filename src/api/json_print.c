#include "api/json_print.h"

#include <stdlib.h>
#include <string.h>

#include "json/json_limits.h"
#include "json/json_memory.h"
#include "json/json_text.h"

void kl_print_json_text(struct kl_printer *p, const char *text, size_t len)
{
    json_t *value = kl_json_text(text != NULL ? text : "", len);
    char *line = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    json_decref(value);
    bool was_short = kl_json_was_short(); /* in any case: it also clears the flag */
    if (line != NULL && !was_short)
        kl_print_bytes(p, line, strlen(line));
    else if (p->status == KL_OK)
        p->status = KL_ERR_MEMORY;
    free(line);
}

bool kl_is_json_object(const struct kl_buffer *text)
{
    if (text->len == 0 || kl_json_check_limits(text->data, text->len, KL_JSON_MAX_DEPTH,
                                               KL_JSON_MAX_NODES, NULL) != KL_OK)
        return false;
    json_t *value = kl_json_load(text->data, text->len, JSON_ALLOW_NUL, NULL);
    bool is_object = json_is_object(value);
    json_decref(value);
    return is_object;
}
