#include "base/foreign_text.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

bool kl_foreign_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

char *kl_foreign_clean(char *text)
{
    size_t len = strlen(text), to = 0;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        bool valid;
        size_t n = kl_utf8_decode(text + at, len - at, &c, &valid);
        if (valid && !kl_foreign_unsafe(c)) {
            memmove(text + to, text + at, n);
            to += n;
        } else {
            text[to++] = '?';
        }
        at += n;
    }
    text[to] = '\0';
    return text;
}

void kl_foreign_line(const char *text, size_t len, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c;
        bool valid;
        char encoded[4];
        i += kl_utf8_decode(text + i, len - i, &c, &valid);
        size_t n = kl_utf8_encode(kl_foreign_unsafe(c) ? KL_UTF8_REPLACEMENT : c, encoded);
        if (n >= size - used)
            break;
        memcpy(out + used, encoded, n);
        used += n;
    }
    out[used] = '\0';
}

size_t kl_foreign_escape(const char *text, size_t len, char out[KL_FOREIGN_ESCAPED], size_t *used)
{
    uint32_t c;
    bool valid;
    size_t n = kl_utf8_decode(text, len, &c, &valid);
    *used = 0;
    if (!valid || c < 0x20 || c == 0x7F) {
        for (size_t i = 0; i < n; i++)
            *used += (size_t)snprintf(out + *used, KL_FOREIGN_ESCAPED - *used, "\\x%02x",
                                      (unsigned char)text[i]);
    } else if (c == '\\') {
        memcpy(out, "\\\\", *used = 2);
    } else if (kl_foreign_unsafe(c)) {
        *used = (size_t)snprintf(out, KL_FOREIGN_ESCAPED, "\\u%04x", (unsigned)c);
    } else {
        memcpy(out, text, *used = n);
    }
    return n;
}

static enum kl_status append_shown(struct kl_buffer *out, const char *text, size_t len)
{
    enum kl_status status = KL_OK;
    for (size_t at = 0; at < len && status == KL_OK;) {
        uint32_t c;
        bool valid;
        char shown[4];
        size_t n = kl_utf8_decode(text + at, len - at, &c, &valid);
        if (c != '\n' && c != '\t' && kl_foreign_unsafe(c))
            c = KL_UTF8_REPLACEMENT;
        status = kl_buffer_append(out, shown, kl_utf8_encode(c, shown));
        at += n;
    }
    return status;
}

enum kl_status kl_foreign_filter(struct kl_foreign_filter *filter, const char *bytes, size_t len,
                                 struct kl_buffer *out)
{
    enum kl_status status = KL_OK;
    while (filter->n_held > 0 && len > 0 && status == KL_OK) {
        filter->held[filter->n_held++] = *bytes++;
        len--;
        size_t tail = kl_utf8_incomplete_tail(filter->held, filter->n_held);
        if (tail == filter->n_held) /* still not complete */
            continue;
        status = append_shown(out, filter->held, filter->n_held - tail);
        memmove(filter->held, filter->held + filter->n_held - tail, tail);
        filter->n_held = tail;
    }
    size_t tail = kl_utf8_incomplete_tail(bytes, len);
    if (status == KL_OK && len > tail)
        status = append_shown(out, bytes, len - tail);
    if (tail > 0) {
        memcpy(filter->held, bytes + len - tail, tail);
        filter->n_held = tail;
    }
    return status;
}

enum kl_status kl_foreign_filter_end(struct kl_foreign_filter *filter, struct kl_buffer *out)
{
    size_t held = filter->n_held;
    filter->n_held = 0;
    return append_shown(out, filter->held, held);
}
