/*
 * Reads whole files, or standard input, for commands. Blocks until the end of the file.
 */
#ifndef KL_CONSOLE_INPUT_H
#define KL_CONSOLE_INPUT_H

#include "base/buffer.h"
#include "base/error.h"

/* The most bytes that a command reads of one input: some hours of prefill. */
#define KL_INPUT_CAP ((size_t)256 << 20)

/* Appends the whole file to out; path NULL or "-": standard input. Then out->data is not NULL, even
 * for an empty file. KL_ERR_LIMIT: more than out->cap bytes. */
enum kl_status kl_read_input(const char *path, struct kl_buffer *out, struct kl_error *err);

/* The same for a text file. Removes a byte order mark. A NUL byte, which would silently end the
 * text, is KL_ERR_FORMAT. */
enum kl_status kl_read_text(const char *path, struct kl_buffer *out, struct kl_error *err);

#endif
