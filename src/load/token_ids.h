/*
 * Token ids written as text, as `kinglet tokenize --decode` and `kinglet eval --tokens` read them.
 */
#ifndef KL_LOAD_TOKEN_IDS_H
#define KL_LOAD_TOKEN_IDS_H

#include <stddef.h>

#include "base/error.h"
#include "text/tokenizer.h"

/* Appends the ids in text to out: decimal numbers separated by blanks, tabs or line ends. Each is
 * below n_vocab; anything else is KL_ERR_INVALID, and the error quotes it. */
enum kl_status kl_token_ids_parse(const char *text, size_t n_vocab, struct kl_tokens *out,
                                  struct kl_error *err);

#endif
