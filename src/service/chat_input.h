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

/* Whether the model, if it can think, thinks before it answers. */
enum kl_thinking { KL_THINKING_NOT_SAID, KL_THINKING_ON, KL_THINKING_OFF };

struct kl_chat_input {
    /* The arrays belong to this structure, their strings to the request's source. */
    struct kl_message *messages;
    size_t n_messages;
    struct kl_tool_call *calls; /* of all messages */
    size_t n_calls;
    const char **tools; /* JSON texts */
    size_t n_tools;
    enum kl_thinking thinking;
    const char *thinking_name; /* the field that set it, for errors; static */
};

void kl_chat_input_release(struct kl_chat_input *input);

/* Refuses fields that the template cannot express, by name: tools, thinking. */
enum kl_status kl_chat_input_check(const struct kl_chat_input *input,
                                   const struct kl_chat_template *chat_template,
                                   struct kl_api_error *error);

/* Renders a prompt of these messages (some or all of the input's, at least one) with the input's
 * tools. The caller releases the prompt, unless the call fails. */
enum kl_status kl_chat_input_render(const struct kl_chat_input *input,
                                    const struct kl_message *messages, size_t n_messages,
                                    const struct kl_chat_template *chat_template,
                                    struct kl_prompt *prompt, struct kl_api_error *error);

#endif
