/*
 * The tokens by which models of code fill in the middle (FIM) of a text.
 *
 * A prompt is <prefix token> text before <suffix token> text behind <middle token>; the answer is
 * the text between. Each family has its own names of these tokens; they are found in the
 * vocabulary. Pure functions, for any thread.
 */
#ifndef KL_TEXT_FIM_H
#define KL_TEXT_FIM_H

#include <stdint.h>

#include "text/tokenizer.h"

enum kl_fim_token {
    KL_FIM_PREFIX,
    KL_FIM_SUFFIX,
    KL_FIM_MIDDLE,
    KL_FIM_REPOSITORY, /* before the name of a repository */
    KL_FIM_FILE        /* before the path of a file, after which its text follows */
};

/* Returns the id of the token, or -1 if the vocabulary has none. */
int32_t kl_fim_find(const struct kl_tokenizer *tokenizer, enum kl_fim_token token);

#endif
