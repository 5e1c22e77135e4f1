#include "base/buffer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kl_buffer_init(struct kl_buffer *b, size_t cap)
{
    *b = (struct kl_buffer){.cap = cap};
}

void kl_buffer_release(struct kl_buffer *b)
{
    free(b->data);
    *b = (struct kl_buffer){.cap = b->cap};
}

/* Makes room for `more` bytes and the NUL. */
static enum kl_status reserve(struct kl_buffer *b, size_t more)
{
    if (more > b->cap - b->len)
        return KL_ERR_LIMIT;
    size_t need = b->len + more + 1;
    if (need <= b->allocated)
        return KL_OK;
    size_t size = b->allocated < 64 ? 64 : b->allocated;
    while (size < need)
        size *= 2;
    if (size - 1 > b->cap)
        size = b->cap + 1;
    char *data = realloc(b->data, size);
    if (data == NULL)
        return KL_ERR_MEMORY;
    b->data = data;
    b->allocated = size;
    return KL_OK;
}

enum kl_status kl_buffer_append(struct kl_buffer *b, const void *data, size_t len)
{
    enum kl_status status = reserve(b, len);
    if (status != KL_OK)
        return status;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return KL_OK;
}

enum kl_status kl_buffer_append_string(struct kl_buffer *b, const char *text)
{
    return kl_buffer_append(b, text, strlen(text));
}

enum kl_status kl_buffer_append_arguments(struct kl_buffer *b, const char *format,
                                          va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    enum kl_status status = len < 0 ? KL_ERR_INVALID : reserve(b, (size_t)len);
    if (status == KL_OK) {
        vsnprintf(b->data + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
    return status;
}

enum kl_status kl_buffer_append_format(struct kl_buffer *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    enum kl_status status = kl_buffer_append_arguments(b, format, arguments);
    va_end(arguments);
    return status;
}

void kl_buffer_clear(struct kl_buffer *b)
{
    b->len = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

void kl_buffer_consume(struct kl_buffer *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}
