/*
 * Answers of OpenAI's Responses API: the document, and the events of its stream.
 *
 * An answer is a list of items, messages and calls of functions in the order in which the model
 * wrote them. A stream begins with response.created and response.in_progress, has events for each
 * item from its begin to its end, and ends with response.completed, response.incomplete (its limit
 * of tokens was reached) or, behind an event "error", response.failed. Every event has its `type`
 * and a number; there is no [DONE].
 *
 * The answer is kept (service/answer_store.h) before its last event is sent: a client that has it
 * can continue the conversation. The loop's thread.
 */
#ifndef KL_API_RESPONSES_FORMAT_H
#define KL_API_RESPONSES_FORMAT_H

#include "service/dialect.h"

extern const struct kl_answer_format kl_responses_stream, kl_responses_document;

#endif
