/*
 * Text of any bytes as a JSON string.
 */
#ifndef KL_JSON_JSON_TEXT_H
#define KL_JSON_JSON_TEXT_H

#include <jansson.h>
#include <stddef.h>

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD, since jansson takes nothing else
 * and error texts may be cut anywhere. */
json_t *kl_json_text(const char *text, size_t len);

#endif
