/*
 * Collects formatted text in memory and writes it to a stream at once, so that a command that fails
 * half-way prints nothing.
 *
 * The first failure (no memory, or more text than the cap) is kept in `status`; later calls do
 * nothing. Code that prints therefore checks once, at the end.
 *
 * The storage is the caller's, the text is the printer's. One thread at a time. It does not write
 * files safely (base/cache_dir.h, bench/html_report.h) and does not filter control characters
 * (base/foreign_text.h).
 */
#ifndef KL_BASE_PRINTER_H
#define KL_BASE_PRINTER_H

#include <stdio.h>

#include "base/buffer.h"
#include "base/error.h"

struct kl_printer {
    struct kl_buffer text;
    enum kl_status status; /* KL_OK, KL_ERR_LIMIT or KL_ERR_MEMORY */
};

/* cap: the largest number of bytes of text. */
void kl_printer_init(struct kl_printer *p, size_t cap);
void kl_printer_release(struct kl_printer *p);

/* Appends text as printf formats it. */
void kl_print(struct kl_printer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void kl_print_bytes(struct kl_printer *p, const void *data, size_t len);

/* Appends the words of a text, wrapped into lines of at most `width` columns that begin at column
 * `indent`, where the cursor is already; then a line end. A longer word has a line of its own. One
 * byte counts as one column. */
void kl_print_words(struct kl_printer *p, const char *text, size_t indent, size_t width);

/* Writes the text to a stream, unless something failed before: then nothing is written and err says
 * that `what` ("the report") does not fit into memory. Errors of the stream itself are left to
 * ferror(), which main checks for stdout at the end. */
enum kl_status kl_printer_write(const struct kl_printer *p, FILE *stream, const char *what,
                                struct kl_error *err);

#endif
