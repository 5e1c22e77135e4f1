#include "http/framing.h"

#include <assert.h>
#include <string.h>

enum kl_status kl_sse_data(struct kl_buffer *out, const char *line)
{
    assert(strpbrk(line, "\r\n") == NULL);
    return kl_buffer_append_format(out, "data: %s\n\n", line);
}

enum kl_status kl_sse_event(struct kl_buffer *out, const char *name, const char *line)
{
    assert(strpbrk(name, "\r\n") == NULL && strpbrk(line, "\r\n") == NULL);
    return kl_buffer_append_format(out, "event: %s\ndata: %s\n\n", name, line);
}

enum kl_status kl_sse_comment(struct kl_buffer *out, const char *text)
{
    size_t at = out->len + 2;
    enum kl_status status = kl_buffer_append_format(out, ": %s\n", text);
    if (status != KL_OK)
        return status;
    for (; at + 1 < out->len; at++) {
        if (out->data[at] == '\n' || out->data[at] == '\r')
            out->data[at] = ' ';
    }
    return KL_OK;
}
