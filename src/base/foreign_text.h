/*
 * Makes foreign text (of a model, a server, the metadata or the name of a file) safe for a terminal
 * or a line of text.
 *
 * Unsafe are characters that a terminal takes for commands, that end a line, or that display text
 * in another order than its bytes have: C0 and DEL, C1 (U+0080 to U+009F: U+009B begins a command
 * as ESC [ does), U+2028 and U+2029, the embeddings, overrides and isolates of bidirectional text
 * (U+202A to U+202E, U+2066 to U+2069), and bytes that are no UTF-8 (a lone 0x9B is C1 to a
 * terminal of another character set). The marks U+200E, U+200F and U+061C are safe: they reorder
 * nothing that a letter of their script would not reorder.
 *
 * kl_foreign_clean changes a line in place, kl_foreign_line copies one (names), kl_foreign_escape
 * keeps all bytes distinguishable (the log), and kl_foreign_filter handles a stream in pieces. All
 * are pure: any thread, storage of the caller's.
 */
#ifndef KL_BASE_FOREIGN_TEXT_H
#define KL_BASE_FOREIGN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* Whether a code point is one of those above. */
bool kl_foreign_unsafe(uint32_t code_point);

/* Replaces unsafe characters, newline and tab included, by '?': the result is one line of valid
 * UTF-8 and not longer. Returns text. */
char *kl_foreign_clean(char *text);

/* Copies text[0..len) to out[0..size) as one line of valid UTF-8, with U+FFFD for unsafe
 * characters. NUL-terminated; cut between two code points if it does not fit. size > 0. */
void kl_foreign_line(const char *text, size_t len, char *out, size_t size);

/* The most that kl_foreign_escape writes for one character: four bytes that are no UTF-8. */
#define KL_FOREIGN_ESCAPED 16

/* Writes the first character of text[0..len), len > 0, so that different texts stay different:
 * \\, \xNN for C0, DEL and each byte that is no UTF-8, \uNNNN for other unsafe characters, all
 * others unchanged. *used: bytes written to out. Returns the number of bytes read. */
size_t kl_foreign_escape(const char *text, size_t len, char out[KL_FOREIGN_ESCAPED], size_t *used);

/* A stream whose pieces may end inside a character. Zero is its beginning. */
struct kl_foreign_filter {
    char held[4]; /* the beginning of a character that is not complete yet */
    size_t n_held;
};

/* Appends the complete characters to out, U+FFFD for unsafe ones; newline and tab are safe here. */
enum kl_status kl_foreign_filter(struct kl_foreign_filter *filter, const char *bytes, size_t len,
                                 struct kl_buffer *out);
/* Ends the stream: bytes that are still held are no character. */
enum kl_status kl_foreign_filter_end(struct kl_foreign_filter *filter, struct kl_buffer *out);

#endif
