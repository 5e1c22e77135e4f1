/*
 * Parses bytes as requests: heads and chunked bodies, cut into pieces at any place, give the same
 * result as in one piece.
 */
#include <string.h>

#include "fuzz.h"
#include "http/http_message.h"

struct outcome {
    enum kl_status status;
    int http_status;
    size_t used;
    bool done;
    struct kl_buffer body;
};

/* Decodes a chunked body; each call sees `step` bytes more than were consumed (0: all). */
static void decode(const char *data, size_t len, size_t step, struct outcome *out)
{
    struct kl_http_chunks chunks = {0};
    struct kl_api_error error = {0};
    kl_buffer_init(&out->body, KL_HTTP_MAX_BODY);
    while (out->status == KL_OK && !chunks.done && out->used < len) {
        size_t n = len - out->used, used = 0;
        if (step != 0 && n > step)
            n = step;
        out->status =
            kl_http_chunks_decode(&chunks, data + out->used, n, &used, &out->body, &error);
        PROMISE(used <= n);
        PROMISE(out->status != KL_OK || used == n || chunks.done);
        out->used += used;
    }
    out->done = chunks.done;
    out->http_status = out->status == KL_OK ? 0 : error.status;
}

static void check_chunks(const char *data, size_t len, size_t step)
{
    struct outcome whole = {0}, cut = {0};
    decode(data, len, 0, &whole);
    decode(data, len, step, &cut);
    PROMISE(whole.status == cut.status && whole.http_status == cut.http_status);
    PROMISE(whole.done == cut.done);
    PROMISE(whole.status != KL_OK || !whole.done || whole.used == cut.used);
    PROMISE(!whole.done ||
            (whole.body.len == cut.body.len &&
             (whole.body.len == 0 || memcmp(whole.body.data, cut.body.data, whole.body.len) == 0)));
    kl_buffer_release(&whole.body);
    kl_buffer_release(&cut.body);
}

static void check_head(const struct kl_http_head *head)
{
    PROMISE(head->minor <= 1 && head->target[0] != '\0');
    PROMISE(head->n_fields <= KL_HTTP_MAX_FIELDS);
    PROMISE(!(head->chunked && head->length != 0));
    for (size_t i = 0; i < head->n_fields; i++) {
        const struct kl_http_field *f = &head->fields[i];
        PROMISE(f->name[0] != '\0' && strpbrk(f->name, " \t\r\n:") == NULL);
        PROMISE(strpbrk(f->value, "\r\n") == NULL);
        PROMISE(kl_http_head_field(head, f->name) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = (size_t)take_byte(&data, &size) + 1;
    const char *text = (const char *)data;
    struct kl_api_error error = {0};
    size_t scanned = 0, end = 0, end_at_once = 0, at_once = 0;
    enum kl_status status = KL_OK;
    for (size_t len = 0; status == KL_OK && end == 0 && len < size;) {
        len = size - len > step ? len + step : size;
        status = kl_http_head_find_end(text, len, &scanned, &end, &error);
    }
    if (status == KL_OK && size > 0 &&
        kl_http_head_find_end(text, size, &at_once, &end_at_once, &error) == KL_OK)
        PROMISE(end == end_at_once && end <= size);
    if (status != KL_OK) {
        PROMISE(error.status == 400 || error.status == 431);
    } else if (end > 0) {
        struct kl_http_head head = {0};
        status = kl_http_head_parse(&head, text, end, &error);
        if (status == KL_OK)
            check_head(&head);
        else
            PROMISE(error.status >= 400 && error.status < 600);
        if (status == KL_OK && head.chunked)
            check_chunks(text + end, size - end, step);
        kl_http_head_release(&head);
    }
    check_chunks(text, size, step);
    return 0;
}
