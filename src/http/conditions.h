/*
 * Conditional requests (RFC 9110, 13): If-Match and If-None-Match against the ETag of a resource.
 * Pure functions on strings.
 */
#ifndef KL_HTTP_CONDITIONS_H
#define KL_HTTP_CONDITIONS_H

#include <stdbool.h>

/* Whether a list of entity tags ("*", or "\"a\", W/\"b\"") has the strong tag `etag`, without its
 * quotes; NULL: there is no such resource, which no list has. weakly: W/"a" is "a", too. A list
 * that is not valid has those tags that are read before its fault. */
bool kl_etag_listed(const char *list, const char *etag, bool weakly);

#endif
