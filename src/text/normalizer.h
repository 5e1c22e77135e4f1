/*
 * Bytes to valid UTF-8 in Normalization Form C, as the tokenizer of the model wants it.
 *
 * Text that is in NFC already (nearly all of it) is copied; only the signs that combine go through
 * utf8proc, with the character before them. What combines is said by char_class.h: the reference's
 * NFC knows an older Unicode than utf8proc, so signs that are newer than that stay as they are.
 * Linear in the length, whatever the text.
 */
#ifndef KL_TEXT_NORMALIZER_H
#define KL_TEXT_NORMALIZER_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "text/char_class.h"

/* Appends NFC(text[0..len)) to out. Bytes that are not UTF-8 become U+FFFD first, by the rule of
 * base/utf8.h; without classes (NULL) that is all. Fails when out's cap is reached (KL_ERR_LIMIT)
 * or with KL_ERR_MEMORY. */
enum kl_status kl_normalize(const struct kl_char_classes *classes, const char *text, size_t len,
                            struct kl_buffer *out);

/* The same in parts: appends the NFC of text[0..*used), some `limit` (8 or more) bytes of it; all
 * parts together are the NFC of the whole text. More than that only where signs that combine go on
 * beyond it. *used > 0 when len > 0. */
enum kl_status kl_normalize_part(const struct kl_char_classes *classes, const char *text,
                                 size_t len, size_t limit, size_t *used, struct kl_buffer *out);

#endif
