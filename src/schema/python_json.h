/*
 * JSON as Python writes it: the text of json.dumps(json.loads(text), ensure_ascii=False).
 *
 * This is the form in which instances are judged: separators ", " and ": ", integers as they are
 * and of any length, other numbers as the shortest decimal that reads back as the same double
 * (1e5: 100000.0), only '"', '\' and control characters escaped, the last of members with the same
 * name in the place of the first. Where Python's behaviour is not JSON: 1e400 is Infinity, and NaN,
 * Infinity and -Infinity are read and written as they are; no rule accepts them. A surrogate
 * without its other half, of which Python makes a string that is not UTF-8, is an error.
 *
 * Pure; any thread. No tree is built: numbers would not survive it.
 */
#ifndef KL_SCHEMA_PYTHON_JSON_H
#define KL_SCHEMA_PYTHON_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_PYTHON_JSON_MAX_DEPTH 500

/* Converts the value that begins at text[*at], behind whitespace; appends it to *out and moves *at
 * behind it and the whitespace there. KL_ERR_INVALID: not JSON; KL_ERR_LIMIT: nested too deeply, or
 * *out is full; KL_ERR_MEMORY. The text names the byte. */
enum kl_status kl_python_json(const char *text, size_t len, size_t *at, struct kl_buffer *out,
                              struct kl_error *err);

/* ---- parts of what was written --------------------------------------------------------------- */

/* A value in a text that kl_python_json wrote. */
struct kl_json_span {
    const char *text; /* NULL: there is none */
    size_t len;
};

/* The first value in an array or the name of the first member of an object; what follows a span in
 * its container: for an object, names and values by turns. Nothing: neither container is one. */
struct kl_json_span kl_json_span_first(struct kl_json_span container);
struct kl_json_span kl_json_span_next(struct kl_json_span span);

/* The value of a member; name: as it is escaped. Nothing: not an object, or no such member. */
struct kl_json_span kl_json_span_member(struct kl_json_span object, const char *name);

#endif
