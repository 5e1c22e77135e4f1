#include "base/log.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/foreign_text.h"
#include "base/log_writer.h"
#include "base/utf8.h"

/* Longest message, and longest text of a field, in bytes; longer ones are truncated. Escapes can
 * make text six times as long (\u0000), so a line may still be too long: then it ends before the
 * first field that does not fit. */
#define MESSAGE_SIZE 1400

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const format_names[] = {"text", "json"};
static _Atomic(int) current_level = KL_LOG_INFO;
static _Atomic(int) current_format = KL_LOG_TEXT;

static bool parse_name(const char *name, const char *const *names, int n, int *found)
{
    for (int i = 0; i < n; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            *found = i;
            return true;
        }
    }
    return false;
}

bool kl_log_parse_level(const char *name, enum kl_log_level *level)
{
    int found;
    if (!parse_name(name, level_names, 4, &found))
        return false;
    *level = (enum kl_log_level)found;
    return true;
}

bool kl_log_parse_format(const char *name, enum kl_log_format *format)
{
    int found;
    if (!parse_name(name, format_names, 2, &found))
        return false;
    *format = (enum kl_log_format)found;
    return true;
}

void kl_log_set_level(enum kl_log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

void kl_log_set_format(enum kl_log_format format)
{
    atomic_store_explicit(&current_format, (int)format, memory_order_relaxed);
}

bool kl_log_enabled(enum kl_log_level level)
{
    return (int)level >= atomic_load_explicit(&current_level, memory_order_relaxed);
}

/* ---- one line -------------------------------------------------------------------------------- */

struct line {
    char data[KL_LOG_LINE];
    size_t len;
    size_t limit; /* bytes that may be used: the rest is for the end of the line */
};

static bool add(struct line *l, const char *data, size_t len)
{
    if (len > l->limit - l->len)
        return false;
    memcpy(l->data + l->len, data, len);
    l->len += len;
    return true;
}

static bool add_string(struct line *l, const char *text)
{
    return add(l, text, strlen(text));
}

static void add_time(struct line *l)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char text[40];
    size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + len, sizeof text - len, ".%03ldZ", now.tv_nsec / 1000000);
    add_string(l, text);
}

/* Adds text, escaped, until the line is full. */
static void add_plain(struct line *l, const char *text)
{
    for (size_t at = 0, len = strlen(text); at < len;) {
        char shown[KL_FOREIGN_ESCAPED];
        size_t used;
        at += kl_foreign_escape(text + at, len - at, shown, &used);
        if (!add(l, shown, used))
            return;
    }
}

/* Adds text as a JSON string, with invalid UTF-8 replaced; truncated when the line is full. */
static bool add_json_string(struct line *l, const char *text)
{
    if (l->limit - l->len < 2)
        return false;
    add(l, "\"", 1);
    l->limit--; /* for the closing quote */
    for (size_t at = 0, len = strlen(text); at < len;) {
        uint32_t c;
        bool valid;
        char bytes[8];
        size_t n;
        at += kl_utf8_decode(text + at, len - at, &c, &valid);
        if (c == '"' || c == '\\')
            n = (size_t)snprintf(bytes, sizeof bytes, "\\%c", (char)c);
        else if (kl_foreign_unsafe(c))
            n = (size_t)snprintf(bytes, sizeof bytes, "\\u%04x", (unsigned)c);
        else
            n = kl_utf8_encode(c, bytes);
        if (!add(l, bytes, n))
            break;
    }
    l->limit++;
    return add(l, "\"", 1);
}

/* Adds the whole field, or nothing if it does not fit. */
static void add_field(struct line *l, const struct kl_log_field *field)
{
    size_t before = l->len;
    char number[32];
    snprintf(number, sizeof number, "%.9g", isfinite(field->number) ? field->number : 0.0);
    bool fits = add_string(l, ",\"") && add_string(l, field->name) && add_string(l, "\":") &&
                (field->text != NULL ? add_json_string(l, field->text) : add_string(l, number));
    if (!fits)
        l->len = before;
}

static void write_line(enum kl_log_level level, const struct kl_log_field *fields, size_t n_fields,
                       const char *format, va_list arguments)
{
    struct line l = {.limit = KL_LOG_LINE - 2}; /* "}\n" */
    char message[MESSAGE_SIZE];
    vsnprintf(message, sizeof message, format, arguments);
    if (atomic_load_explicit(&current_format, memory_order_relaxed) == KL_LOG_JSON) {
        add_string(&l, "{\"time\":\"");
        add_time(&l);
        add_string(&l, "\",\"level\":\"");
        add_string(&l, level_names[level]);
        add_string(&l, "\",\"message\":");
        add_json_string(&l, message);
        for (size_t i = 0; i < n_fields; i++)
            add_field(&l, &fields[i]);
        l.limit++;
        add_string(&l, "}");
    } else {
        char name[12];
        snprintf(name, sizeof name, " %-7s ", level_names[level]);
        add_time(&l);
        add_string(&l, name);
        add_plain(&l, message);
    }
    l.limit = KL_LOG_LINE;
    add_string(&l, "\n");
    kl_log_write(l.data, l.len);
}

void kl_log(enum kl_log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (kl_log_enabled(level))
        write_line(level, NULL, 0, format, arguments);
    va_end(arguments);
}

void kl_log_with(enum kl_log_level level, const struct kl_log_field *fields, size_t n_fields,
                 const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (kl_log_enabled(level))
        write_line(level, fields, n_fields, format, arguments);
    va_end(arguments);
}

static void report_dropped(uint64_t n)
{
    kl_warning("%llu lines of the log were dropped: stderr did not take them",
               (unsigned long long)n);
}

enum kl_status kl_log_start(struct kl_error *err)
{
    return kl_log_writer_start(report_dropped, err);
}
