/*
 * A list of token ids that grows. The storage of the struct is the caller's, the ids are the
 * list's; one thread at a time. It knows nothing of a vocabulary: any int32_t is an id.
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

/* Appends one id. KL_OK or KL_ERR_MEMORY; the list is unchanged then. */
enum kl_status kl_tokens_push(struct kl_tokens *tokens, int32_t id);
/* The same before all others. */
enum kl_status kl_tokens_push_front(struct kl_tokens *tokens, int32_t id);
void kl_tokens_release(struct kl_tokens *tokens);

#endif
