/*
 * What `kinglet chat` is asked: the words of the command line, standard input, or both.
 */
#ifndef KL_CONSOLE_CHAT_PROMPT_H
#define KL_CONSOLE_CHAT_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

/* Most that is taken of standard input: as much as a request of the server may hold. */
#define KL_CHAT_INPUT_CAP ((size_t)1 << 20)

/* Fills out with the question: what standard input holds, an empty line, the words. Standard input
 * is read to its end where it is a pipe, a socket, or a regular file at its beginning; a file at a
 * later offset is being read by another program (`while read`), and a terminal or /dev/null holds
 * nothing. How much it was is said on stderr, and after two silent seconds what is waited for.
 * without_input: it is left alone. *conversation: there is no word, and standard input is a
 * terminal. KL_ERR_INVALID: there is nothing to ask. */
enum kl_status kl_chat_prompt_read(char **words, size_t n_words, bool without_input,
                                   struct kl_buffer *out, bool *conversation, struct kl_error *err);

#endif
