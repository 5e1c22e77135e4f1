/*
 * The fields `messages` and `tools` of a request, as a conversation.
 *
 * Messages are those of the OpenAI API: roles system (and developer, the same), user, assistant,
 * tool; content is a string, an array of text parts (joined by line breaks), or null where an
 * assistant only called tools. A conversation that ends with the assistant's words is to be
 * continued in the middle of that turn.
 */
#ifndef KL_API_MESSAGE_FIELDS_H
#define KL_API_MESSAGE_FIELDS_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/chat_input.h"

/* messages: an array; tools: an array or NULL. Strings that have to be made are appended to kept,
 * an array; the strings of *input belong to these three, which outlive it. Release *input in any
 * case. */
enum kl_status kl_chat_input_parse(const json_t *messages, const json_t *tools, json_t *kept,
                                   struct kl_chat_input *input, struct kl_api_error *error);

#endif
