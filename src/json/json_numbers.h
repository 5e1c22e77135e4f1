/*
 * JSON as clients write it: behind a byte order mark, and with numbers that jansson cannot hold.
 *
 * Whole numbers beyond 64 bits and reals beyond a double are right in JSON, and mostly stand where
 * they are not read (an id, the maximum in a tool's schema). They become the nearest real there is,
 * which the range of a field that is read then refuses by name.
 */
#ifndef KL_JSON_JSON_NUMBERS_H
#define KL_JSON_JSON_NUMBERS_H

#include <jansson.h>
#include <stddef.h>

/* As kl_json_load, of any value, with NUL characters in strings allowed. error may be NULL. */
json_t *kl_json_read(const char *data, size_t len, json_error_t *error);

#endif
