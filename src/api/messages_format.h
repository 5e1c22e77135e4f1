/*
 * Answers of Anthropic's Messages API: the document, and the events of its stream.
 *
 * The content of an answer is a list of blocks, text and tool_use. A stream is message_start, then
 * content_block_start, content_block_delta.. and content_block_stop for each block, message_delta
 * with the reason of the end and the tokens, message_stop; `ping` while there is nothing to send.
 * The loop's thread.
 */
#ifndef KL_API_MESSAGES_FORMAT_H
#define KL_API_MESSAGES_FORMAT_H

#include "service/dialect.h"

/* The generation's `kept`: the stop strings of the request, each with its NUL. */
extern const struct kl_answer_format kl_messages_stream, kl_messages_document;

#endif
