/*
 * The conversation of a request, and its text as a prompt.
 *
 * Thread rule: belongs to its request; used by the worker's thread.
 */
#ifndef KL_SERVICE_CHAT_INPUT_H
#define KL_SERVICE_CHAT_INPUT_H

#include <stddef.h>

#include "http/api_error.h"
#include "text/chat_template.h"

/* Whether a model that can do so thinks before it answers. */
enum kl_thinking { KL_THINKING_NOT_SAID, KL_THINKING_ON, KL_THINKING_OFF };

struct kl_chat_input {
    struct kl_message
        *messages; /* the arrays belong to it, their strings to the request's source */
    size_t n_messages;
    struct kl_tool_call *calls; /* of all messages */
    size_t n_calls;
    const char **tools; /* JSON texts */
    size_t n_tools;
    enum kl_thinking thinking;
    const char *thinking_name; /* the field that set it, for errors; static */
};

void kl_chat_input_release(struct kl_chat_input *input);

/* What the template cannot express is refused by name: tools, thinking. */
enum kl_status kl_chat_input_check(const struct kl_chat_input *input,
                                   const struct kl_chat_template *chat_template,
                                   struct kl_api_error *error);

/* Renders the prompt of these of its messages, at least one. The caller releases it, unless the
 * call fails. */
enum kl_status kl_chat_input_render(const struct kl_chat_input *input,
                                    const struct kl_message *messages, size_t n_messages,
                                    const struct kl_chat_template *chat_template,
                                    struct kl_prompt *prompt, struct kl_api_error *error);

#endif
