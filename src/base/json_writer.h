/*
 * Writes a JSON document value by value, with commas and escapes.
 *
 * struct kl_json is the caller's; zero but for `out` is its beginning. Failures (no memory, the
 * printer's cap) are the printer's, see base/printer.h. One thread at a time. It neither builds a
 * tree nor checks that brackets match: json/ reads and writes documents of clients.
 */
#ifndef KL_BASE_JSON_WRITER_H
#define KL_BASE_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/printer.h"

struct kl_json {
    struct kl_printer *out;
    bool comma; /* a comma goes before the next value */
    bool plain; /* escape only what JSON requires (RFC 8259), as jansson does: for HTTP. Otherwise
                   characters that a terminal must not receive as well: see foreign_text.h */
};

/* name: the member's, written as it is; NULL inside an array and for the whole document. */
void kl_json_open(struct kl_json *j, const char *name, char bracket); /* '{' or '[' */
void kl_json_close(struct kl_json *j, char bracket);                  /* '}' or ']' */
/* value: NUL-terminated UTF-8; invalid bytes become U+FFFD, control characters escapes. */
void kl_json_string(struct kl_json *j, const char *name, const char *value);
/* value: finite. From 1e6 on without decimals, below that with 9 digits. */
void kl_json_number(struct kl_json *j, const char *name, double value);
void kl_json_bool(struct kl_json *j, const char *name, bool value);
/* An array of values[0..n), 9 digits each. */
void kl_json_null(struct kl_json *j, const char *name);
void kl_json_numbers(struct kl_json *j, const char *name, const double *values, size_t n);

#endif
