/*
 * Text of any bytes as a JSON string.
 */
#ifndef KL_JSON_JSON_TEXT_H
#define KL_JSON_JSON_TEXT_H

#include <jansson.h>
#include <stddef.h>

/* Returns a JSON string of any bytes: those that are not UTF-8 become U+FFFD, since jansson accepts
 * nothing else and error texts may be cut anywhere. NULL: no memory (see kl_json_was_short). */
json_t *kl_json_text(const char *text, size_t len);

#endif
