/*
 * A growable byte buffer with a cap: the one way text of unknown length is collected.
 *
 * Storage is the caller's, memory is the buffer's. data is always NUL-terminated once something
 * was appended (the NUL is not counted in len). Growth past `cap` fails with KL_ERR_LIMIT, failed
 * allocation with KL_ERR_MEMORY; the content is unchanged by a failed append.
 */
#ifndef KL_BASE_BUFFER_H
#define KL_BASE_BUFFER_H

#include <stdarg.h>
#include <stddef.h>

#include "base/error.h"

struct kl_buffer {
    char *data;
    size_t len;
    size_t allocated;
    size_t cap; /* largest len ever allowed */
};

void kl_buffer_init(struct kl_buffer *b, size_t cap);
void kl_buffer_release(struct kl_buffer *b);

enum kl_status kl_buffer_append(struct kl_buffer *b, const void *data, size_t len);
enum kl_status kl_buffer_append_string(struct kl_buffer *b, const char *text);
enum kl_status kl_buffer_append_format(struct kl_buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for a variadic function of the caller's. */
enum kl_status kl_buffer_append_arguments(struct kl_buffer *b, const char *format,
                                          va_list arguments) __attribute__((format(printf, 2, 0)));

/* Empties it and keeps the memory. */
void kl_buffer_clear(struct kl_buffer *b);
/* Takes the first n bytes away (n <= len). */
void kl_buffer_consume(struct kl_buffer *b, size_t n);

#endif
