/*
 * A growing list of token ids. The caller owns it; one thread at a time.
 */
#ifndef KL_TEXT_TOKENS_H
#define KL_TEXT_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Initialise with {0}. */
struct kl_tokens {
    int32_t *ids; /* [len] */
    size_t len;
    size_t allocated;
};

/* KL_OK or KL_ERR_MEMORY, which changes nothing. */
enum kl_status kl_tokens_push(struct kl_tokens *tokens, int32_t id);
void kl_tokens_release(struct kl_tokens *tokens);

#endif
