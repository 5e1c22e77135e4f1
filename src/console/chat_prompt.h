/*
 * Reads the prompt of `kinglet chat`: the words of the command line, standard input, or both.
 */
#ifndef KL_CONSOLE_CHAT_PROMPT_H
#define KL_CONSOLE_CHAT_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

/* The most bytes of standard input: as many as a request to the server may have. */
#define KL_CHAT_INPUT_CAP ((size_t)1 << 20)

/* Appends the prompt to out: the text of standard input, an empty line, the words. Reads standard
 * input to its end if it is a pipe, a socket, or a regular file at its beginning. A file at a later
 * offset belongs to another program (`while read`), and a terminal or /dev/null has no text.
 * Without words, reads any standard input but a terminal. Prints on stderr how many bytes it read,
 * and after two seconds without input, that it waits.
 *
 * without_input: never reads standard input. *conversation: set if there are no words and standard
 * input is a terminal; then out is empty. KL_ERR_INVALID: there is no prompt. */
enum kl_status kl_chat_prompt_read(char **words, size_t n_words, bool without_input,
                                   struct kl_buffer *out, bool *conversation, struct kl_error *err);

#endif
