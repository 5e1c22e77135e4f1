/*
 * The messages of Anthropic's Messages API as messages of a conversation.
 *
 * Content is a string or blocks: text, tool_use, tool_result; thinking is left out, everything else
 * (images, documents) is refused by name. cache_control is ignored: what conversations have in
 * common is found anyway. Worker's.
 */
#ifndef KL_API_MESSAGES_INPUT_H
#define KL_API_MESSAGES_INPUT_H

#include <jansson.h>

#include "http/api_error.h"

/* Appends `system` (NULL: none) and messages, in the form of Chat Completions, to out, for
 * kl_chat_input_parse. Strings are shared with the arguments. */
enum kl_status kl_messages_input(const json_t *system, const json_t *messages, json_t *out,
                                 struct kl_api_error *error);

#endif
