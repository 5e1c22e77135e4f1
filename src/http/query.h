/*
 * The query of a URL ("name=value&name=value") as names and values.
 */
#ifndef KL_HTTP_QUERY_H
#define KL_HTTP_QUERY_H

#include "http/api_error.h"

struct kl_query;

/* Parses and decodes it. Refused with *error (400; 503 without memory): NULL. */
struct kl_query *kl_query_parse(const char *text, struct kl_api_error *error);

/* The value of the first pair of this name, in any case; NULL: there is none. */
const char *kl_query_find(const struct kl_query *query, const char *name);

/* NULL is allowed. */
void kl_query_free(struct kl_query *query);

#endif
