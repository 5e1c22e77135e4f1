/*
 * UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Pure functions on the caller's bytes: any thread, no errors but invalid text. Normalisation is in
 * text/.
 */
#ifndef KL_BASE_UTF8_H
#define KL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_UTF8_REPLACEMENT 0xFFFDu

/* Reads one code point of text[0..len), len > 0. Returns the number of bytes read (1..4).
 * A byte that cannot begin or continue a valid sequence gives KL_UTF8_REPLACEMENT with *valid
 * false and takes the maximal ill-formed prefix (Unicode 15, section 3.9, "substitution of
 * maximal subparts": the same as WHATWG and Python's errors="replace"). */
size_t kl_utf8_decode(const char *text, size_t len, uint32_t *code_point, bool *valid);

/* Writes 1..4 bytes and returns their number. code_point is a scalar value. */
size_t kl_utf8_encode(uint32_t code_point, char out[4]);

bool kl_utf8_valid(const char *text, size_t len);

/* Returns the number of bytes (0..3) at the end of text[0..len) that are the beginning of a
 * sequence which further bytes could complete. Streams hold these back. */
size_t kl_utf8_incomplete_tail(const char *text, size_t len);

#endif
