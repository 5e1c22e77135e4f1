/*
 * Parses the field `messages` of a request into a conversation.
 *
 * Messages are those of the OpenAI API: roles system (and its synonym developer), user, assistant,
 * tool (and its older name function); content is a string, an array of text parts (joined by line
 * breaks), or null in a message of the assistant that only calls tools, or of a tool. Results
 * belong to calls by their order. `reasoning_content` of the assistant is its thought. If the last
 * message is the assistant's, the answer continues that message.
 */
#ifndef KL_API_MESSAGE_FIELDS_H
#define KL_API_MESSAGE_FIELDS_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/chat_input.h"

/* Fills *input but for its tools (tool_calls.h). messages: an array. New strings are appended to
 * kept, an array. All strings of *input belong to these two, which must outlive it. Release *input
 * in any case. */
enum kl_status kl_chat_input_parse(const json_t *messages, json_t *kept,
                                   struct kl_chat_input *input, struct kl_api_error *error);

/* Reads `continue_final_message` and `add_generation_prompt`, as vLLM and llama-server have them:
 * by default a last message of the assistant is continued. */
enum kl_status kl_continuation_fields(const json_t *body, struct kl_chat_input *input,
                                      struct kl_api_error *error);

/* Reads OpenAI's field `prediction` of body: {"type": "content", "content": a string or an array of
 * text parts}. Sets *text and *len, which belong to body and kept; absent or null: unchanged. */
enum kl_status kl_prediction_field(const json_t *body, json_t *kept, const char **text, size_t *len,
                                   struct kl_api_error *error);

#endif
