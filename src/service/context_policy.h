/*
 * A conversation to the tokens of its prompt; one that is longer than the context is refused, or
 * its oldest turns are left out.
 *
 * A turn is a message of a user and what follows it, up to the next one of a user. System messages
 * and tools stay, wherever they stand, and so does the last turn; if that alone is too long, the
 * conversation is too long. What must stay is encoded first, then the turns before it, the newest
 * first, each once, and no more than fit. Runs in steps, on the worker's thread.
 */
#ifndef KL_SERVICE_CONTEXT_POLICY_H
#define KL_SERVICE_CONTEXT_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "service/chat_input.h"
#include "service/served.h"
#include "text/prompt_encoder.h"

enum kl_context_policy {
    KL_CONTEXT_ERROR, /* refused: 400 */
    KL_CONTEXT_TRIM   /* the oldest turns are left out, and the answer says how many messages */
};
/* Reads "error" or "trim". Returns false for anything else. */
bool kl_context_policy_parse(const char *name, enum kl_context_policy *policy);

/* How long a prompt may be that is to be answered with up to max_tokens (SIZE_MAX: no limit): what
 * the answer needs stays free, but not more than a quarter of the context, so that a generous limit
 * does not cost a conversation its memory. */
size_t kl_context_room(size_t ctx_size, size_t max_tokens);

/* Release it in any case. */
struct kl_context_fit {
    struct kl_tokens tokens; /* the prompt, when it is done */
    size_t n_left_out;       /* messages that are not in it */

    const struct kl_chat_input *input;
    const struct kl_chat_template *chat_template;
    size_t ctx_size, room;
    struct kl_prompt_encoder encoder;
    struct kl_message *kept; /* [n_messages]: room for those of a candidate */
    /* Candidates are counted by turns: 0 has all messages, i leaves out those before turn i that
     * can go. turns[i]: where it begins, of the n_turns last ones that matter. */
    size_t *turns;
    size_t candidate, last; /* the one that is looked at; the shortest one */
    size_t low, best;       /* the longest that fits is one of these and what is between */
    size_t stride;
    struct kl_prompt prompt; /* of the candidate */
    bool looking;
};

/* input must outlive it. Turns are only left out with KL_CONTEXT_TRIM. */
enum kl_status kl_context_fit_begin(struct kl_context_fit *fit, const struct kl_chat_input *input,
                                    const struct kl_served *served, size_t ctx_size,
                                    enum kl_context_policy policy, size_t room,
                                    struct kl_api_error *error);

/* Goes on until *effort, about one for each byte, is used up or it is *done. A prompt that is
 * longer than the context is a 400. */
enum kl_status kl_context_fit_step(struct kl_context_fit *fit, size_t *effort, bool *done,
                                   struct kl_api_error *error);

void kl_context_fit_release(struct kl_context_fit *fit);

#endif
