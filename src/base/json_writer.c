#include "base/json_writer.h"

#include <string.h>

#include "base/foreign_text.h"
#include "base/utf8.h"

/* The escape of a control character in jansson's spelling. */
static void write_control(struct kl_json *j, uint32_t c)
{
    static const char letters[] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    if (c < sizeof letters && letters[c] != '\0')
        kl_print(j->out, "\\%c", letters[c]);
    else
        kl_print(j->out, "\\u%04X", (unsigned)c);
}

static void write_string(struct kl_json *j, const char *text)
{
    kl_print(j->out, "\"");
    for (size_t at = 0, len = strlen(text); at < len;) {
        uint32_t c;
        bool valid;
        char bytes[4];
        at += kl_utf8_decode(text + at, len - at, &c, &valid);
        if (c == '"' || c == '\\')
            kl_print(j->out, "\\%c", (char)c);
        else if (j->plain && c < 0x20)
            write_control(j, c);
        else if (!j->plain && kl_foreign_unsafe(c))
            kl_print(j->out, "\\u%04x", (unsigned)c);
        else
            kl_print(j->out, "%.*s", (int)kl_utf8_encode(c, bytes), bytes);
    }
    kl_print(j->out, "\"");
}

static void begin_value(struct kl_json *j, const char *name)
{
    if (j->comma)
        kl_print(j->out, ",");
    if (name != NULL)
        kl_print(j->out, "\"%s\":", name);
    j->comma = true;
}

void kl_json_open(struct kl_json *j, const char *name, char bracket)
{
    begin_value(j, name);
    kl_print(j->out, "%c", bracket);
    j->comma = false;
}

void kl_json_close(struct kl_json *j, char bracket)
{
    kl_print(j->out, "%c", bracket);
    j->comma = true;
}

void kl_json_string(struct kl_json *j, const char *name, const char *value)
{
    begin_value(j, name);
    write_string(j, value);
}

void kl_json_number(struct kl_json *j, const char *name, double value)
{
    begin_value(j, name);
    /* counts of bytes in full, measurements as far as they mean something */
    kl_print(j->out, value >= 1e6 && value < 9e15 ? "%.0f" : "%.9g", value);
}

void kl_json_bool(struct kl_json *j, const char *name, bool value)
{
    begin_value(j, name);
    kl_print(j->out, "%s", value ? "true" : "false");
}

void kl_json_null(struct kl_json *j, const char *name)
{
    begin_value(j, name);
    kl_print(j->out, "null");
}

void kl_json_numbers(struct kl_json *j, const char *name, const double *values, size_t n)
{
    kl_json_open(j, name, '[');
    for (size_t i = 0; i < n; i++)
        kl_print(j->out, "%s%.9g", i > 0 ? "," : "", values[i]);
    kl_json_close(j, ']');
}
