/*
 * Text to the pieces that BPE works on: a hand-written scanner for the split rule of Qwen2,
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]*
 *   | \s*[\r\n]+ | \s+(?!\S) | \s+
 *
 * (the fourth alternative begins with an optional space). Each byte belongs to exactly one piece.
 * Every call is linear in the piece it finds, and a whole text in its length.
 */
#ifndef KL_TEXT_PRETOKENIZER_H
#define KL_TEXT_PRETOKENIZER_H

#include <stddef.h>

#include "text/char_class.h"

/* The length in bytes of the first piece of text[0..len): valid UTF-8, len > 0, beginning where a
 * piece begins. */
size_t kl_pretokenize(const struct kl_char_classes *classes, const char *text, size_t len);

#endif
