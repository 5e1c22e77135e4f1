#include "base/utf8.h"

/* Length of the sequence a first byte announces and the range its second byte must be in; the
 * narrowed ranges rule out overlong forms, surrogates and values over U+10FFFF
 * (Unicode 15, table 3-7). Length 0: cannot begin a sequence. */
static size_t sequence_length(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80)
        return 1;
    if (first < 0xC2)
        return 0;
    if (first < 0xE0)
        return 2;
    if (first < 0xF0) {
        if (first == 0xE0)
            *low = 0xA0;
        if (first == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (first < 0xF5) {
        if (first == 0xF0)
            *low = 0x90;
        if (first == 0xF4)
            *high = 0x8F;
        return 4;
    }
    return 0;
}

/* Returns the number of bytes that form a valid beginning, up to the announced length, *want. */
static size_t matched_prefix(const char *text, size_t len, size_t *want)
{
    unsigned char low, high;
    *want = sequence_length((unsigned char)text[0], &low, &high);
    if (*want == 0)
        return 0;
    size_t n = 1;
    while (n < *want && n < len) {
        unsigned char byte = (unsigned char)text[n];
        if (byte < low || byte > high)
            break;
        low = 0x80;
        high = 0xBF;
        n++;
    }
    return n;
}

size_t kl_utf8_decode(const char *text, size_t len, uint32_t *code_point, bool *valid)
{
    static const unsigned char first_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    size_t want;
    size_t n = matched_prefix(text, len, &want);
    if (n == 0 || n < want) {
        *code_point = KL_UTF8_REPLACEMENT;
        *valid = false;
        return n == 0 ? 1 : n;
    }
    uint32_t value = (unsigned char)text[0] & first_mask[want];
    for (size_t i = 1; i < want; i++)
        value = (value << 6) | ((unsigned char)text[i] & 0x3F);
    *code_point = value;
    *valid = true;
    return want;
}

size_t kl_utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | (c >> 6));
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | (c >> 12));
        out[1] = (char)(0x80 | ((c >> 6) & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | (c >> 18));
    out[1] = (char)(0x80 | ((c >> 12) & 0x3F));
    out[2] = (char)(0x80 | ((c >> 6) & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

bool kl_utf8_valid(const char *text, size_t len)
{
    uint32_t code_point;
    bool valid = true;
    for (size_t i = 0; i < len && valid;)
        i += kl_utf8_decode(text + i, len - i, &code_point, &valid);
    return valid;
}

size_t kl_utf8_incomplete_tail(const char *text, size_t len)
{
    size_t longest = len < 3 ? len : 3;
    for (size_t tail = longest; tail > 0; tail--) {
        size_t want;
        size_t n = matched_prefix(text + len - tail, tail, &want);
        if (n == tail && want > tail)
            return tail;
    }
    return 0;
}
