/* What commands read: whole files or standard input, keys, and token ids written as numbers. */
#ifndef KL_CONSOLE_INPUT_H
#define KL_CONSOLE_INPUT_H

#include "base/buffer.h"
#include "base/error.h"
#include "text/tokenizer.h"

/* Most that is read of one input: some hours of prefill. */
#define KL_INPUT_CAP ((size_t)256 << 20)

/* Appends all of a file; path NULL or "-": standard input. out->data is never NULL afterwards. */
enum kl_status kl_read_input(const char *path, struct kl_buffer *out, struct kl_error *err);

/* The same for a file of lines. A byte order mark is left out; a NUL byte, at which the last line
 * would end without a word, is KL_ERR_FORMAT. */
enum kl_status kl_read_text(const char *path, struct kl_buffer *out, struct kl_error *err);

#define KL_KEY_FILE_CAP ((size_t)64 * 1024)

/* The first key of a file as serve reads it; text keeps it. path NULL: NULL. */
enum kl_status kl_read_key(const char *path, struct kl_buffer *text, const char **key,
                           struct kl_error *err);

/* Ids separated by blanks, tabs or line ends, each below n_vocab. */
enum kl_status kl_parse_ids(const char *text, size_t n_vocab, struct kl_tokens *out,
                            struct kl_error *err);

#endif
