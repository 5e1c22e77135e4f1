#include "api/reply_json.h"

#include <stdlib.h>
#include <string.h>

#include "json/json_memory.h"

/* Sends a 500. A retry would not help: all values are made valid before, so this is a defect of the
 * program. */
static void reply_no_json(struct kl_exchange *x)
{
    struct kl_api_error error;
    kl_api_fail(&error, 500, "internal_error", NULL,
                "the answer cannot be written as JSON: a text in it is not UTF-8, or a number is "
                "not finite; please report this");
    kl_reply_fault(x, &error);
}

void kl_reply_json(struct kl_exchange *x, int status, json_t *body)
{
    /* 10 digits are enough for measurements */
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(body);
    bool short_of_memory = kl_json_was_short();
    if (text == NULL && !short_of_memory) {
        reply_no_json(x);
        return;
    }
    char *line = text != NULL && !short_of_memory ? realloc(text, strlen(text) + 2) : NULL;
    if (line != NULL)
        strcat(line, "\n");
    kl_reply_text(x, status, "application/json; charset=utf-8", line);
    free(line != NULL ? line : text);
}

void kl_reply_printed(struct kl_exchange *x, struct kl_printer *document)
{
    bool failed = kl_json_was_short() || document->status != KL_OK;
    kl_reply_text(x, 200, "application/json; charset=utf-8", failed ? NULL : document->text.data);
    kl_printer_release(document);
}

enum kl_status kl_write_json(struct kl_buffer *out, json_t *value, struct kl_api_error *error)
{
    char *text = value != NULL
                     ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(10))
                     : NULL;
    enum kl_status status = text != NULL ? kl_buffer_append_string(out, text) : KL_ERR_MEMORY;
    json_decref(value);
    free(text);
    if (kl_json_was_short())
        status = KL_ERR_MEMORY;
    return status == KL_OK ? KL_OK : kl_api_fail_memory(error, "the answer");
}

void kl_stream_json(struct kl_exchange *x, json_t *body)
{
    char *line = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (!kl_json_was_short() && line != NULL)
        kl_stream_data(x, line);
    else
        kl_stream_cut(x);
    free(line);
}
