/*
 * The requests of /v1/chat/completions, for routes that take the same and do something else with
 * them.
 */
#ifndef KL_API_OPENAI_CHAT_H
#define KL_API_OPENAI_CHAT_H

#include "service/dialect.h"
#include "service/generation_request.h"

/* `parse` of its dialect (dialect.h). The request's source is an array that begins with the body.
 */
enum kl_status kl_chat_completions_parse(const char *text, size_t len, bool is_query,
                                         struct kl_generation_request *request,
                                         struct kl_api_error *error);

#endif
