#include "grammar/gbnf_reader.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

enum kl_status kl_gbnf_fail_at(const char *grammar, size_t place, enum kl_status status,
                               struct kl_error *err, const char *format, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    size_t line = 1, column = 1;
    for (size_t i = 0; i < place; i++) {
        if (grammar[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)grammar[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    return kl_fail(err, status, "grammar, line %zu, column %zu: %s", line, column, text);
}

enum kl_status kl_gbnf_expected(const struct kl_gbnf_reader *r, const char *what,
                                const char *advice)
{
    char found[32];
    unsigned char c = r->at < r->len ? (unsigned char)r->text[r->at] : 0;
    if (r->at == r->len) {
        snprintf(found, sizeof found, "the end of the grammar");
    } else if (c == '\n' || c == '\r') {
        snprintf(found, sizeof found, "the end of the line");
    } else if (c < 0x20 || c == 0x7F) {
        snprintf(found, sizeof found, "the byte 0x%02X", c);
    } else {
        uint32_t code_point;
        bool valid;
        size_t n = kl_utf8_decode(r->text + r->at, r->len - r->at, &code_point, &valid);
        snprintf(found, sizeof found, "'%.*s'", (int)n, r->text + r->at);
    }
    return kl_gbnf_fail_at(r->text, r->at, KL_ERR_INVALID, r->err, "expected %s, found %s%s%s",
                           what, found, advice[0] != '\0' ? "; " : "", advice);
}

/* ---- characters ---- */

/* The byte `ahead` of the place, 0 behind the end. */
char kl_gbnf_peek(const struct kl_gbnf_reader *r, size_t ahead)
{
    return r->len - r->at > ahead ? r->text[r->at + ahead] : '\0';
}

bool kl_gbnf_is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

bool kl_gbnf_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void kl_gbnf_skip_space(struct kl_gbnf_reader *r, bool lines)
{
    while (r->at < r->len) {
        char c = kl_gbnf_peek(r, 0);
        if (c == '#')
            while (r->at < r->len && kl_gbnf_peek(r, 0) != '\n' && kl_gbnf_peek(r, 0) != '\r')
                r->at++;
        else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
            r->at++;
        else
            return;
    }
}

static enum kl_status read_hex(struct kl_gbnf_reader *r, size_t digits, uint32_t *value)
{
    size_t begin = r->at;
    *value = 0;
    for (size_t i = 0; i < digits; i++, r->at++) {
        char c = kl_gbnf_peek(r, 0);
        uint32_t digit;
        if (kl_gbnf_is_digit(c))
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else
            return kl_gbnf_expected(r,
                                    digits == 2   ? "2 hexadecimal digits after \\x"
                                    : digits == 4 ? "4 hexadecimal digits after \\u"
                                                  : "8 hexadecimal digits after \\U",
                                    "");
        *value = *value << 4 | digit;
    }
    if (*value > 0x10FFFF) {
        r->at = begin;
        return kl_gbnf_expected(r, "a character up to 10FFFF", "");
    }
    return KL_OK;
}

/* Reads one character of a text or class. */
enum kl_status kl_gbnf_read_char(struct kl_gbnf_reader *r, uint32_t *c)
{
    bool valid;
    if (r->at == r->len || kl_gbnf_peek(r, 0) == '\n' || kl_gbnf_peek(r, 0) == '\r')
        return kl_gbnf_expected(r, "the end of the text or class that began on this line",
                                "write a line end as \\n");
    if (kl_gbnf_peek(r, 0) != '\\') {
        r->at += kl_utf8_decode(r->text + r->at, r->len - r->at, c, &valid);
        return KL_OK;
    }
    r->at++;
    char kind = kl_gbnf_peek(r, 0);
    switch (kind) {
    case 'x':
        r->at++;
        return read_hex(r, 2, c);
    case 'u':
        r->at++;
        return read_hex(r, 4, c);
    case 'U':
        r->at++;
        return read_hex(r, 8, c);
    case 'n':
        *c = '\n';
        break;
    case 'r':
        *c = '\r';
        break;
    case 't':
        *c = '\t';
        break;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^':
        *c = (uint32_t)kind;
        break;
    default:
        return kl_gbnf_expected(r,
                                "an escape: \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xNN \\uNNNN "
                                "\\UNNNNNNNN",
                                "write a backslash as \\\\");
    }
    r->at++;
    return KL_OK;
}
