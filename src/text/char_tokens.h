/*
 * Characters that may be taken as one token at once, without merging their bytes. Internal to
 * text/.
 *
 * A character of two or three bytes that merges make one token of, and of which no merge with a
 * neighbour can take a part before it is whole: then its merges come out the same whatever
 * its neighbours are, and BPE may begin with the whole character. With most Chinese text that
 * leaves a third of the places and a tenth of the merges. What a neighbour could do is told apart
 * by the byte that stands there: ids are the same as without this table, for every text and any
 * merges.
 */
#ifndef KL_TEXT_CHAR_TOKENS_H
#define KL_TEXT_CHAR_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/merges.h"

/* Code points up to U+FFFF; 0: not such a character. Otherwise the id in the low bits, then a bit
 * for each class of the next byte, then one for each kind of byte before, which are harmless. */
#define KL_CHAR_TOKENS      ((size_t)0x10000)
#define KL_CHAR_ID_BITS     20
#define KL_CHAR_AFTER_ASCII (1u << 28)
#define KL_CHAR_AFTER_OTHER (1u << 29)

_Static_assert(KL_VOCAB_MAX <= 1u << KL_CHAR_ID_BITS, "ids fit below the bits");

/* The class of a byte that a character may begin with: ASCII, the leads of nearly all CJK
 * characters one by one, all others. */
#define KL_LEAD_CLASSES 8
static inline unsigned kl_lead_class(unsigned char byte)
{
    return byte < 0x80 ? 0 : byte >= 0xE4 && byte <= 0xE9 ? byte - 0xE4u + 2 : 1;
}

/* entries: [KL_CHAR_TOKENS], of these merges. */
enum kl_status kl_char_tokens_make(uint32_t *entries, const struct kl_merges *merges,
                                   const struct kl_vocab *v, struct kl_error *err);

/* The token of the character at bytes[at], which has *len bytes; or -1: to be merged. */
static inline int32_t kl_char_token(const uint32_t *entries, const unsigned char *bytes, size_t at,
                                    size_t n, size_t *len)
{
    const unsigned char *b = bytes + at;
    size_t left = n - at;
    uint32_t c;
    if (b[0] >= 0xE0 && b[0] < 0xF0 && left >= 3 && (b[1] & 0xC0) == 0x80 &&
        (b[2] & 0xC0) == 0x80) {
        c = (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
        *len = 3;
    } else if (b[0] >= 0xC0 && b[0] < 0xE0 && left >= 2 && (b[1] & 0xC0) == 0x80) {
        c = (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu);
        *len = 2;
    } else {
        return -1;
    }
    uint32_t entry = entries[c];
    if (entry == 0)
        return -1;
    if (*len < left) {
        unsigned char next = b[*len];
        if ((next & 0xC0) == 0x80 || !(entry >> (KL_CHAR_ID_BITS + kl_lead_class(next)) & 1))
            return -1;
    }
    if (at > 0) {
        unsigned char before = b[-1];
        if (before >= 0xC0 ||
            !(entry & (before < 0x80 ? KL_CHAR_AFTER_ASCII : KL_CHAR_AFTER_OTHER)))
            return -1;
    }
    return (int32_t)(entry & ((1u << KL_CHAR_ID_BITS) - 1));
}

#endif
