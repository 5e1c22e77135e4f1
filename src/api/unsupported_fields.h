/*
 * Refuses unsupported request fields by name: fields of OpenAI, llama-server and other servers that
 * would change the answer. Values that mean the same as leaving the field out are accepted.
 */
#ifndef KL_API_UNSUPPORTED_FIELDS_H
#define KL_API_UNSUPPORTED_FIELDS_H

#include <jansson.h>
#include <stddef.h>

#include "http/api_error.h"

enum kl_field_routes {
    KL_FIELDS_OF_CHAT = 1,        /* /v1/chat/completions */
    KL_FIELDS_OF_NATIVE = 2,      /* /chat */
    KL_FIELDS_OF_COMPLETIONS = 4, /* /v1/completions */
    KL_FIELDS_OF_LLAMA = 8,       /* /completion, /infill */
    KL_FIELDS_OF_RESPONSES = 16,  /* /v1/responses */
    KL_FIELDS_OF_MESSAGES = 32,   /* /v1/messages: only fields with this bit */
};

/* Returns the error of the first unsupported field in body, or KL_OK. */
enum kl_status kl_unsupported_fields_check(const json_t *body, enum kl_field_routes route,
                                           struct kl_api_error *error);

/* Returns the name of the i-th unsupported field; NULL past the end. */
const char *kl_unsupported_field_at(size_t i);

#endif
