#include "text/normalizer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

/* A canonical decomposition has at most 4 code points (Unicode 15, UAX #15). */
#define MAX_DECOMPOSED 4
#define NFC_OPTIONS    (UTF8PROC_STABLE | UTF8PROC_COMPOSE)
/* A character and its signs are rarely more than this many code points when decomposed. */
#define USUAL_SEGMENT 64

static unsigned combining_class(utf8proc_int32_t c)
{
    return (unsigned)utf8proc_get_property(c)->combining_class;
}

/* Stable counting sort of a run of signs by combining class. utf8proc sorts by exchanging
 * neighbours, which takes quadratic time on a long run. */
static void sort_signs(utf8proc_int32_t *signs, utf8proc_int32_t *sorted, size_t n)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[combining_class(signs[i]) + 1]++;
    for (size_t i = 1; i < 257; i++)
        start[i] += start[i - 1];
    for (size_t i = 0; i < n; i++)
        sorted[start[combining_class(signs[i])]++] = signs[i];
    memcpy(signs, sorted, n * sizeof *signs);
}

static void order_signs(utf8proc_int32_t *chars, utf8proc_int32_t *room, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && combining_class(chars[end]) != 0)
            end++;
        if (end - i > 1)
            sort_signs(chars + i, room, end - i);
        i = end + 1;
    }
}

/* Appends the NFC of text[0..len), valid UTF-8, all of it in memory for [2][max] code points. */
static enum kl_status compose(const char *text, size_t len, utf8proc_int32_t *chars, size_t max,
                              struct kl_buffer *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c;
        bool valid;
        i += kl_utf8_decode(text + i, len - i, &c, &valid);
        int boundary = 0;
        utf8proc_ssize_t parts = utf8proc_decompose_char(
            (utf8proc_int32_t)c, chars + n, (utf8proc_ssize_t)(max - n), NFC_OPTIONS, &boundary);
        n += (size_t)parts;
    }
    order_signs(chars, chars + max, n);
    n = (size_t)utf8proc_normalize_utf32(chars, (utf8proc_ssize_t)n, NFC_OPTIONS);
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        enum kl_status status =
            kl_buffer_append(out, bytes, kl_utf8_encode((uint32_t)chars[i], bytes));
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

/* text[0..len): a character (base bytes of it, 0: none) and the combining signs after it. */
static enum kl_status normalize_segment(const char *text, size_t len, size_t base,
                                        struct kl_buffer *out)
{
    uint32_t c;
    bool valid;
    if (base > 0 && kl_utf8_decode(text, len, &c, &valid) == base &&
        combining_class((utf8proc_int32_t)c) != 0) {
        /* A sign newer than the reference's Unicode: to the reference it is a letter like any
         * other, so nothing may move past it. */
        enum kl_status status = kl_buffer_append(out, text, base);
        if (status != KL_OK)
            return status;
        text += base;
        len -= base;
    }

    size_t max = len * MAX_DECOMPOSED;
    utf8proc_int32_t usual[2 * USUAL_SEGMENT];
    utf8proc_int32_t *chars = usual;
    if (max > USUAL_SEGMENT) {
        chars = malloc(2 * max * sizeof *chars);
        if (chars == NULL)
            return KL_ERR_MEMORY;
    }
    enum kl_status status =
        compose(text, len, chars, max > USUAL_SEGMENT ? max : USUAL_SEGMENT, out);
    if (chars != usual)
        free(chars);
    return status;
}

static size_t ascii_run(const char *text, size_t len)
{
    size_t n = 0;
    for (uint64_t word; n + sizeof word <= len; n += sizeof word) {
        memcpy(&word, text + n, sizeof word);
        if (word & 0x8080808080808080u)
            break;
    }
    while (n < len && (unsigned char)text[n] < 0x80)
        n++;
    return n;
}

enum kl_status kl_normalize_part(const struct kl_char_classes *classes, const char *text,
                                 size_t len, size_t limit, size_t *used, struct kl_buffer *out)
{
    enum kl_status status = KL_OK;
    size_t done = 0; /* text[0..done) is in out */
    size_t base = 0; /* length of the character before `at`, if it is not in out */
    size_t at = 0;
    limit = limit < len ? limit : len;
    while (at < limit && status == KL_OK) {
        size_t n = ascii_run(text + at, limit - at);
        if (n > 0) {
            at += n;
            base = 1;
            continue;
        }
        uint32_t c;
        bool valid;
        n = kl_utf8_decode(text + at, len - at, &c, &valid);
        if (valid && (classes == NULL || !(classes->flags[c] & KL_CHAR_COMBINES))) {
            at += n;
            base = n;
            continue;
        }

        status = kl_buffer_append(out, text + done, at - base - done);
        if (status != KL_OK)
            break;
        size_t from = at - base;
        if (!valid) {
            status = kl_buffer_append(out, text + from, base);
            if (status == KL_OK)
                status = kl_buffer_append(out, "\xEF\xBF\xBD", 3);
            at += n;
        } else {
            while (valid && (classes->flags[c] & KL_CHAR_COMBINES)) {
                at += n;
                if (at == len)
                    break;
                n = kl_utf8_decode(text + at, len - at, &c, &valid);
            }
            status = normalize_segment(text + from, at - from, base, out);
        }
        done = at;
        base = 0;
    }
    /* what comes next may combine with the last character, so that is left for the next part */
    *used = at < len && at > base ? at - base : at;
    if (status == KL_OK)
        status = kl_buffer_append(out, text + done, *used - done);
    return status;
}

enum kl_status kl_normalize(const struct kl_char_classes *classes, const char *text, size_t len,
                            struct kl_buffer *out)
{
    size_t used;
    return kl_normalize_part(classes, text, len, len, &used, out);
}
