/*
 * The classes of each code point that the tokenizer needs: one byte of flags, indexed directly.
 *
 * The table is filled from the ranges in char_ranges.h and not from the system's Unicode library,
 * so the same text gives the same tokens whatever version of that library is installed.
 */
#ifndef KL_TEXT_CHAR_CLASS_H
#define KL_TEXT_CHAR_CLASS_H

#include <stdint.h>

#include "base/error.h"

#define KL_CHAR_LETTER   1u /* \p{L} */
#define KL_CHAR_NUMBER   2u /* \p{N} */
#define KL_CHAR_SPACE    4u /* \s: White_Space */
#define KL_CHAR_COMBINES 8u /* NFC may change it, move it or join it to text before it */

#define KL_CODE_POINTS 0x110000u

/* flags: [KL_CODE_POINTS]. Of its 1.1 MB only the pages with a flag in them, about 0.2 MB, ever
 * become resident. Read-only after _init: any number of threads may use it. */
struct kl_char_classes {
    uint8_t *flags;
};

enum kl_status kl_char_classes_init(struct kl_char_classes *classes, struct kl_error *err);
void kl_char_classes_release(struct kl_char_classes *classes);

#endif
