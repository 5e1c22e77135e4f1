/*
 * Writes JSON into a buffer, for what commands print. Remembers the first failure (of memory, or
 * the buffer's cap), so that what writes reads like the result.
 */
#ifndef KL_BASE_JSON_WRITER_H
#define KL_BASE_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

struct kl_json {
    struct kl_buffer *out;
    enum kl_status status;
    bool comma; /* something stands before the next value */
    bool plain; /* escape only what JSON requires (RFC 8259), as jansson does: for HTTP. Otherwise
                   also what a terminal must not get: see foreign_text.h */
};

/* name: NULL inside of an array. */
void kl_json_open(struct kl_json *j, const char *name, char bracket); /* '{' or '[' */
void kl_json_close(struct kl_json *j, char bracket);                  /* '}' or ']' */
void kl_json_string(struct kl_json *j, const char *name, const char *value);
void kl_json_number(struct kl_json *j, const char *name, double value);
void kl_json_bool(struct kl_json *j, const char *name, bool value);
void kl_json_null(struct kl_json *j, const char *name);
void kl_json_numbers(struct kl_json *j, const char *name, const double *values, size_t n);

#endif
