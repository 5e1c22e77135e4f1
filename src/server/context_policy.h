/*
 * A conversation that is longer than the context: refused, or its oldest turns are left out.
 *
 * A turn is a message of a user and what follows it, up to the next one of a user. System messages
 * and tools stay, wherever they stand, and so does the last turn; if that alone is too long, the
 * conversation is as it was, and too long.
 */
#ifndef KL_SERVER_CONTEXT_POLICY_H
#define KL_SERVER_CONTEXT_POLICY_H

#include <stddef.h>

#include "server/chat_input.h"

/* How long a prompt may be that is to be answered with up to max_tokens (SIZE_MAX: no limit): what
 * the answer needs stays free, but not more than a quarter of the context, so that a generous limit
 * does not cost a conversation its memory. */
size_t kl_context_room(size_t ctx_size, size_t max_tokens);

/* Encodes; where that are more than `room` tokens, encodes what is left without as few of the
 * oldest turns as are necessary. The result is still longer when the rest is. *left_out: messages
 * that are not in it. */
enum kl_status kl_context_trim(const struct kl_chat_input *input,
                               const struct kl_chat_template *chat_template,
                               const struct kl_tokenizer *tokenizer, size_t room,
                               struct kl_tokens *tokens, size_t *left_out,
                               struct kl_api_error *error);

#endif
