/*
 * Cleans foreign text for a terminal or for a line of text: split into any pieces, the output is
 * valid UTF-8 without unsafe characters, and escaped texts stay distinguishable.
 */
#include <string.h>

#include "base/foreign_text.h"
#include "base/utf8.h"
#include "fuzz.h"

static void filter(const char *text, size_t len, size_t step, struct kl_buffer *out)
{
    struct kl_foreign_filter f = {0};
    kl_buffer_init(out, (size_t)1 << 20);
    for (size_t at = 0; at < len; at += step)
        PROMISE(kl_foreign_filter(&f, text + at, len - at < step ? len - at : step, out) == KL_OK);
    PROMISE(kl_foreign_filter_end(&f, out) == KL_OK);
}

static void check_safe(const char *text, size_t len, bool lines)
{
    PROMISE(kl_utf8_valid(text, len));
    for (size_t at = 0; at < len;) {
        uint32_t c;
        bool valid;
        at += kl_utf8_decode(text + at, len - at, &c, &valid);
        PROMISE(!kl_foreign_unsafe(c) || (lines && (c == '\n' || c == '\t')));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = (size_t)take_byte(&data, &size) + 1;
    const char *text = (const char *)data;
    struct kl_buffer whole, cut;
    char line[256], escaped[KL_FOREIGN_ESCAPED];
    filter(text, size, size + 1, &whole);
    filter(text, size, step, &cut);
    PROMISE(whole.len == cut.len && (cut.len == 0 || memcmp(whole.data, cut.data, cut.len) == 0));
    if (whole.len > 0)
        check_safe(whole.data, whole.len, true);
    kl_buffer_release(&whole);
    kl_buffer_release(&cut);

    kl_foreign_line(text, size, line, step < sizeof line ? step : sizeof line);
    check_safe(line, strlen(line), false);
    for (size_t at = 0, used; at < size;) {
        size_t n = kl_foreign_escape(text + at, size - at, escaped, &used);
        PROMISE(n > 0 && n <= size - at && used > 0 && used <= sizeof escaped);
        check_safe(escaped, used, false);
        at += n;
    }
    return 0;
}
