/*
 * Text that others wrote (a model, a server, a file's metadata or name) on its way to a terminal or
 * into a line of text.
 *
 * Unsafe there is what a terminal takes for a command, what ends a line, and what makes a reader
 * see another order than the bytes have: C0 and DEL, C1 (U+0080 to U+009F: U+009B begins a command
 * as ESC [ does), U+2028 and U+2029, the embeddings, overrides and isolates of bidirectional text
 * (U+202A to U+202E, U+2066 to U+2069), and bytes that are no UTF-8 (a lone 0x9B is C1 to a
 * terminal of another character set). The marks U+200E, U+200F and U+061C stay: they turn nothing
 * round that a letter of their script would not.
 *
 * There are four ways to make it safe: kl_foreign_clean for a line in its own storage,
 * kl_foreign_line for a copy (names), kl_foreign_escape where every byte must be told apart (the
 * log), and kl_foreign_filter for a stream that comes in pieces. All are pure.
 */
#ifndef KL_BASE_FOREIGN_TEXT_H
#define KL_BASE_FOREIGN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

bool kl_foreign_unsafe(uint32_t code_point);

/* Puts '?' where an unsafe character stands, newline and tab too: one line of valid UTF-8 is left.
 * Never grows. Returns text. */
char *kl_foreign_clean(char *text);

/* Copies text[0..len) to out as one line of valid UTF-8, with U+FFFD where an unsafe character
 * stands. Ended by a NUL; cut between two code points where size ends. size: of out, at least 1. */
void kl_foreign_line(const char *text, size_t len, char *out, size_t size);

/* The longest that kl_foreign_escape makes of one character: four bytes that are no UTF-8. */
#define KL_FOREIGN_ESCAPED 16

/* Writes the first character of text[0..len), len > 0, so that no two texts become the same one:
 * \\, \xNN for C0, DEL and each byte that is no UTF-8, \uNNNN for other unsafe ones, all else as it
 * is. *used: how many bytes of out. Returns how many bytes of text it took. */
size_t kl_foreign_escape(const char *text, size_t len, char out[KL_FOREIGN_ESCAPED], size_t *used);

/* A stream: a character may lie in two pieces. Begins as {0}. */
struct kl_foreign_filter {
    char held[4]; /* the beginning of a character whose rest has not come */
    size_t n_held;
};

/* Appends what is ready of the bytes to out; U+FFFD stands for what is unsafe, newline and tab
 * stay. */
enum kl_status kl_foreign_filter(struct kl_foreign_filter *filter, const char *bytes, size_t len,
                                 struct kl_buffer *out);
/* The stream is over: what is still held was no character. */
enum kl_status kl_foreign_filter_end(struct kl_foreign_filter *filter, struct kl_buffer *out);

#endif
