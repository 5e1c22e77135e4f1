/*
 * From the JSON of a request to the text of a prompt: messages, tools, template.
 *
 * Messages are those of the OpenAI API: roles system (and developer, the same), user, assistant,
 * tool; content is a string, an array of text parts (joined by line breaks), or null where an
 * assistant only called tools. A conversation that ends with the assistant's words is to be
 * continued in the middle of that turn.
 */
#ifndef KL_API_CHAT_INPUT_H
#define KL_API_CHAT_INPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "http/api_error.h"
#include "text/chat_template.h"

/* Whether a model that can do so thinks before it answers. */
enum kl_thinking { KL_THINKING_NOT_SAID, KL_THINKING_ON, KL_THINKING_OFF };

struct kl_chat_input {
    struct kl_message *messages; /* their strings belong to the request's JSON, or to kept */
    size_t n_messages;
    struct kl_tool_call *calls; /* of all messages */
    size_t n_calls;
    const char **tools; /* JSON texts */
    size_t n_tools;
    json_t *kept;              /* strings that were made here */
    enum kl_thinking thinking; /* the caller's to set, as the next */
    const char *thinking_name; /* the field that said so, for errors; static */
};

/* messages: an array; tools: an array or NULL. The JSON must outlive *input. Release *input in any
 * case. */
enum kl_status kl_chat_input_parse(const json_t *messages, const json_t *tools,
                                   struct kl_chat_input *input, struct kl_api_error *error);
void kl_chat_input_release(struct kl_chat_input *input);

/* What the template can not express is refused by name: tools, thinking. */
enum kl_status kl_chat_input_check(const struct kl_chat_input *input,
                                   const struct kl_chat_template *chat_template,
                                   struct kl_api_error *error);

/* The text of a prompt with these of its messages, at least one; to be released unless it fails. */
enum kl_status kl_chat_input_render(const struct kl_chat_input *input,
                                    const struct kl_message *messages, size_t n_messages,
                                    const struct kl_chat_template *chat_template,
                                    struct kl_prompt *prompt, struct kl_api_error *error);

#endif
