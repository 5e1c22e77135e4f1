/*
 * Turns a conversation into the tokens of its prompt. A conversation longer than the context is
 * refused, or its oldest turns are left out.
 *
 * A turn is a user message and all that follows it, up to the next user message. System messages
 * and tools always stay, wherever they are, and so does the last turn; if these alone are too long,
 * the conversation is refused. The parts that must stay are encoded first, then the turns before
 * them, newest first, each once, until no more fit.
 *
 * Thread rule: runs in steps, on the worker's thread.
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

/* Returns the tokens a trimmed prompt may have, for an answer of up to max_tokens (SIZE_MAX: no
 * limit). Leaves room for the answer, but at most a quarter of the context, so that a generous
 * limit does not cut off most of the conversation. */
size_t kl_context_room(size_t ctx_size, size_t max_tokens);

/* Release it in any case. */
struct kl_context_fit {
    struct kl_tokens tokens; /* the prompt, once *done */
    size_t n_left_out;       /* messages that the prompt leaves out */

    const struct kl_chat_input *input;
    const struct kl_chat_template *chat_template;
    size_t ctx_size, room;
    struct kl_prompt_encoder encoder;
    struct kl_message *kept; /* [n_messages]: the messages of the candidate */
    /* Candidate 0 has all messages; candidate i leaves out those before turn i, except messages
     * that must stay. turns[i]: index of the first message of turn i. */
    size_t *turns;
    size_t candidate, last; /* the candidate being encoded; the shortest one */
    size_t low, best;       /* the longest that fits is in low..best */
    size_t stride;
    struct kl_prompt prompt; /* of the candidate */
    bool encoding;           /* the candidate is rendered and being encoded */
};

/* The error of a prompt that is too long: n_tokens of it are known, ctx_size fit. */
enum kl_status kl_context_too_long(size_t n_tokens, size_t ctx_size, const char *field,
                                   struct kl_api_error *error);

/* input must outlive fit. Turns are only left out with KL_CONTEXT_TRIM. */
enum kl_status kl_context_fit_begin(struct kl_context_fit *fit, const struct kl_chat_input *input,
                                    const struct kl_served *served, size_t ctx_size,
                                    enum kl_context_policy policy, size_t room,
                                    struct kl_api_error *error);

/* Continues until *effort (about one per byte) is used up or the prompt is complete (*done). A
 * prompt that is longer than the context is a 400. */
enum kl_status kl_context_fit_step(struct kl_context_fit *fit, size_t *effort, bool *done,
                                   struct kl_api_error *error);

void kl_context_fit_release(struct kl_context_fit *fit);

#endif
