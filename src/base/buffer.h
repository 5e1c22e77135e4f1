/*
 * A growable byte buffer with a cap, for text of unknown length.
 *
 * The struct is the caller's, its memory the buffer's. One thread at a time. data is NULL at first
 * and NUL-terminated after the first append; len does not count the NUL. Growth past `cap` fails
 * with KL_ERR_LIMIT, a failed allocation with KL_ERR_MEMORY; a failed append changes nothing.
 * base/printer.h remembers failures, so that code which prints need not check each append.
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
    size_t cap; /* bytes: the largest len that is allowed */
};

void kl_buffer_init(struct kl_buffer *b, size_t cap);
void kl_buffer_release(struct kl_buffer *b);

enum kl_status kl_buffer_append(struct kl_buffer *b, const void *data, size_t len);
enum kl_status kl_buffer_append_string(struct kl_buffer *b, const char *text);
enum kl_status kl_buffer_append_format(struct kl_buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* kl_buffer_append_format for variadic callers. */
enum kl_status kl_buffer_append_arguments(struct kl_buffer *b, const char *format,
                                          va_list arguments) __attribute__((format(printf, 2, 0)));

/* Sets len to 0 and keeps the memory. */
void kl_buffer_clear(struct kl_buffer *b);
/* Removes the first n bytes (n <= len). */
void kl_buffer_consume(struct kl_buffer *b, size_t n);

#endif
