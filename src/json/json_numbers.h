/*
 * Reads JSON as clients write it: after a byte order mark, and with numbers that jansson cannot
 * represent.
 *
 * Integers beyond 64 bits and reals beyond a double are valid JSON, and are mostly in values that
 * nothing reads (an id, the maximum in a tool's schema). They become the nearest double, which the
 * range check of a field then refuses by name.
 */
#ifndef KL_JSON_JSON_NUMBERS_H
#define KL_JSON_JSON_NUMBERS_H

#include <jansson.h>
#include <stddef.h>

/* As kl_json_load, for any value (not only an object or array), with NUL characters allowed in
 * strings. error may be NULL. */
json_t *kl_json_read(const char *data, size_t len, json_error_t *error);

#endif
