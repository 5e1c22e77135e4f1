/*
 * The conversation of a request, and its text as a prompt.
 *
 * Thread rule: belongs to its request; used by the worker's thread.
 */
#ifndef KL_SERVICE_CHAT_INPUT_H
#define KL_SERVICE_CHAT_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "http/api_error.h"
#include "service/served.h"
#include "text/chat_template.h"

/* Whether the model, if it can think, thinks before it answers. */
enum kl_thinking { KL_THINKING_NOT_SAID, KL_THINKING_ON, KL_THINKING_OFF };

struct kl_chat_input {
    const char *field; /* of the request that has the conversation, for errors; static; NULL:
                          "messages" */
    /* The arrays belong to this structure, their strings to the request's source, or to `late`. */
    struct kl_message *messages;
    size_t n_messages;
    char *late;                 /* owned: texts that late_lines.h changed; NULL: none */
    struct kl_tool_call *calls; /* of all messages */
    size_t n_calls;
    const char **tools; /* JSON texts */
    size_t n_tools;
    enum kl_thinking thinking;
    /* The field that set it, for errors; static. NULL with KL_THINKING_OFF: a wish, which a model
     * that always thinks ignores. */
    const char *thinking_name;
    /* The answer continues the last message, the assistant's; otherwise it is a new turn. */
    bool continues;
    /* The name of an argument for a template of another server; NULL: none. */
    const char *template_argument;
};

static inline const char *kl_chat_input_field(const struct kl_chat_input *input)
{
    return input->field != NULL ? input->field : "messages";
}

void kl_chat_input_release(struct kl_chat_input *input);

/* Refuses fields that the template cannot express, by name: tools, thinking. An argument for the
 * template is refused if the text of the model's template reads some, or might, not being known. */
enum kl_status kl_chat_input_check(const struct kl_chat_input *input,
                                   const struct kl_served *served, struct kl_api_error *error);

/* Renders a prompt of these messages (some or all of the input's, at least one) with the input's
 * tools. The caller releases the prompt, unless the call fails. */
enum kl_status kl_chat_input_render(const struct kl_chat_input *input,
                                    const struct kl_message *messages, size_t n_messages,
                                    const struct kl_chat_template *chat_template,
                                    struct kl_prompt *prompt, struct kl_api_error *error);

#endif
