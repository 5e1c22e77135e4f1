#include "service/call_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define OPEN_TAG  "<tool_call>"
#define CLOSE_TAG "</tool_call>"
#define FENCE     "```"

#define DECODED_NAME (KL_CALL_NAME_MAX + 4) /* room for a code point that ends behind the limit */

struct kl_call_names *kl_call_names_new(const char *const *names, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(names[i]) + 1;
    struct kl_call_names *copy = malloc(sizeof *copy + n * sizeof copy->names[0] + bytes);
    if (copy == NULL)
        return NULL;
    char *at = (char *)&copy->names[n];
    copy->n = n;
    for (size_t i = 0; i < n; i++) {
        copy->names[i] = at;
        at = stpcpy(at, names[i]) + 1;
    }
    return copy;
}

void kl_call_reader_init(struct kl_call_reader *r, const struct kl_call_names *names)
{
    r->names = names;
    r->n_calls = 0;
    r->place = KL_CALL_IN_TEXT;
    r->form = KL_CALL_BARE;
    r->is_first = r->at_line_begin = true;
    r->is_fenced = false;
    r->in_string = r->is_escaped = false;
    r->depth = r->n_held = 0;
}

/* ---- what may be the beginning of a call ----------------------------------------------------- */

/* Whether a text is there; MORE: as far as it goes, it is. */
enum found { NO, MORE, YES };

struct cursor {
    const char *at, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Whether only spaces are before the next byte of the line. */
static bool is_line_begin(bool before, char c)
{
    return c == '\n' || (before && is_space(c));
}

static enum found skip(struct cursor *c, const char *text)
{
    size_t len = strlen(text), there = (size_t)(c->end - c->at);
    if (memcmp(c->at, text, there < len ? there : len) != 0)
        return NO;
    if (there < len)
        return MORE;
    c->at += len;
    return YES;
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && is_space(*c->at))
        c->at++;
}

static enum found skip_word(struct cursor *c, const char *text)
{
    skip_space(c);
    return skip(c, text);
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *found = c == '\0' ? NULL : strchr(digits, c | 0x20);
    return found == NULL ? -1 : (int)(found - digits);
}

/* Decodes \uXXXX of the basic plane, behind the backslash. */
static size_t decode_hex(const char *at, const char *end, char out[4])
{
    uint32_t code = 0;
    if (end - at < 5)
        return 0;
    for (int i = 1; i <= 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return 0;
        code = code << 4 | (uint32_t)digit;
    }
    return code == 0 || (code >= 0xd800 && code <= 0xdfff) ? 0 : kl_utf8_encode(code, out);
}

/* Decodes the inside of a JSON string. false: it is too long for a name, or has an escape that no
 * name has. */
static bool decode(const char *at, const char *end, char name[DECODED_NAME])
{
    static const char escapes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    size_t n = 0;
    while (at < end) {
        if (n >= KL_CALL_NAME_MAX)
            return false;
        if (*at != '\\') {
            name[n++] = *at++;
            continue;
        }
        const char *found = at + 1 < end && at[1] != '\0' ? strchr(escapes, at[1]) : NULL;
        size_t len = 1;
        if (found != NULL)
            name[n] = values[found - escapes];
        else if (at + 1 < end && at[1] == 'u')
            len = decode_hex(at + 1, end, name + n);
        else
            len = 0;
        if (len == 0)
            return false;
        n += len;
        at += found != NULL ? 2 : 6;
    }
    name[n] = '\0';
    return true;
}

/* Reads a JSON string that is the name of a tool; *name: that of the tool. */
static enum found skip_name(const struct kl_call_names *names, struct cursor *c, const char **name)
{
    char decoded[DECODED_NAME];
    enum found found = skip_word(c, "\"");
    if (found != YES)
        return found;
    const char *close = c->at;
    while (close < c->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= c->end)
        return c->end - c->at > 6 * KL_CALL_NAME_MAX ? NO : MORE;
    if (!decode(c->at, close, decoded))
        return NO;
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->names[i], decoded) == 0) {
            *name = names->names[i];
            c->at = close + 1;
            return YES;
        }
    }
    return NO;
}

/* Reads the name of the arguments: Llama's models call them parameters. */
static enum found skip_key(struct cursor *c)
{
    struct cursor other = *c;
    enum found found = skip_word(c, "\"arguments\"");
    if (found != NO)
        return found;
    *c = other;
    return skip_word(c, "\"parameters\"");
}

/* The beginning of a call. */
struct opening {
    enum kl_call_form form;
    const char *name; /* NULL: not there yet */
};

/* Reads an object up to the arguments. */
static enum found skip_object(const struct kl_call_names *names, struct cursor *c,
                              struct opening *o)
{
    enum found found = skip_word(c, "{");
    if (found == YES)
        found = skip_word(c, "\"name\"");
    if (found == YES)
        found = skip_word(c, ":");
    if (found == YES)
        found = skip_name(names, c, &o->name);
    if (found != YES)
        return found;
    found = skip_word(c, ",");
    if (found == YES)
        found = skip_key(c);
    if (found == YES)
        found = skip_word(c, ":");
    if (found != YES)
        return found;
    skip_space(c);
    return c->at == c->end ? MORE : *c->at == '{' ? YES : NO;
}

/* Reads an opening fence with its line break. */
static enum found skip_fence(struct cursor *c)
{
    enum found found = skip(c, FENCE);
    if (found != YES)
        return found;
    static const char *const words[] = {"json", "tool_call", "xml", ""};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct cursor word = *c;
        found = skip(&word, words[i]);
        if (found == YES)
            found = skip(&word, "\n");
        if (found != NO) {
            *c = word;
            return found;
        }
    }
    return NO;
}

/* Whether a call begins at the cursor, which is taken to its arguments. */
static enum found skip_opening(const struct kl_call_reader *r, struct cursor *c, bool is_first,
                               bool at_line_begin, struct opening *o)
{
    *o = (struct opening){.form = KL_CALL_TAGGED};
    enum found found = NO;
    if (*c->at == '<') {
        found = skip(c, OPEN_TAG);
        return found == YES ? skip_object(r->names, c, o) : found;
    }
    if (*c->at == '`' && at_line_begin) {
        o->form = KL_CALL_FENCED;
        found = skip_fence(c);
        if (found != YES)
            return found;
        skip_space(c);
        if (c->at == c->end)
            return MORE;
        if (*c->at == '<') { /* the tags in a fence */
            o->form = KL_CALL_TAGGED;
            found = skip(c, OPEN_TAG);
            return found == YES ? skip_object(r->names, c, o) : found;
        }
    } else if (*c->at == '{' && is_first) {
        o->form = r->is_fenced ? KL_CALL_FENCED : KL_CALL_BARE;
    } else {
        return NO;
    }
    return skip_object(r->names, c, o);
}

/* ---- passing on ------------------------------------------------------------------------------ */

static void drop(struct kl_call_reader *r, size_t n)
{
    r->n_held -= n;
    memmove(r->held, r->held + n, r->n_held);
}

/* Passes the first n held bytes on as content, and drops them. */
static enum kl_status pass_text(struct kl_call_reader *r, size_t n, const struct kl_call_sink *sink)
{
    if (n == 0)
        return KL_OK;
    size_t space = 0;
    while (space < n && is_space(r->held[space]))
        space++;
    if (!r->is_first || r->n_calls == 0)
        space = 0; /* only behind a call it is left out */
    enum kl_status status =
        space < n ? sink->text(sink->context, r->held + space, n - space) : KL_OK;
    for (size_t i = 0; i < n; i++) {
        r->is_first = r->is_first && is_space(r->held[i]);
        r->is_fenced = r->is_fenced && r->is_first;
        r->at_line_begin = is_line_begin(r->at_line_begin, r->held[i]);
    }
    drop(r, n);
    return status;
}

static enum kl_status pass_call(struct kl_call_reader *r, enum kl_call_part part, const char *text,
                                size_t len, const struct kl_call_sink *sink)
{
    const struct kl_call_piece piece = {part, r->n_calls - 1, text, len};
    return sink->call(sink->context, &piece);
}

static enum kl_status begin_call(struct kl_call_reader *r, const struct opening *o,
                                 const struct kl_call_sink *sink)
{
    r->n_calls++;
    r->form = o->form;
    r->is_fenced = o->form == KL_CALL_FENCED;
    r->depth = 0;
    r->in_string = r->is_escaped = false;
    r->place = KL_CALL_IN_ARGUMENTS;
    return pass_call(r, KL_CALL_BEGIN, o->name, strlen(o->name), sink);
}

/* ---- the places ------------------------------------------------------------------------------ */

/* Passes on what is content for sure, up to the beginning of a call. Each of these functions is
 * called while there are held bytes, and returns with *waits set when it needs more of them. At the
 * end there are no more. */
static enum kl_status read_text(struct kl_call_reader *r, bool is_end, bool *waits,
                                const struct kl_call_sink *sink)
{
    size_t text = 0; /* bytes of it, without the whitespace behind it */
    bool is_first = r->is_first, at_line_begin = r->at_line_begin;
    bool is_full = r->n_held + 4 > sizeof r->held;
    for (size_t i = 0; i < r->n_held; i++) {
        struct cursor c = {r->held + i, r->held + r->n_held}, tag = c;
        struct opening opening;
        enum found found = skip_opening(r, &c, is_first, at_line_begin, &opening);
        enum found closing = skip(&tag, CLOSE_TAG);
        bool is_tag = closing == YES || skip(&tag, OPEN_TAG) == YES;
        bool is_call = found == YES || (found == MORE && is_end && opening.name != NULL);
        if (is_call || (is_tag && (found == NO || is_end || is_full))) {
            size_t end = found == YES ? (size_t)(c.at - r->held) : (size_t)(tag.at - r->held);
            if (found == MORE && is_end)
                end = r->n_held; /* of a call that is cut, only the name is known, or nothing */
            enum kl_status status = pass_text(r, text, sink);
            drop(r, end - text);
            return status == KL_OK && is_call ? begin_call(r, &opening, sink) : status;
        }
        if ((found == MORE || closing == MORE) && !is_end && !(is_full && i == 0)) {
            *waits = !is_full;
            return pass_text(r, is_full ? i : text, sink);
        }
        if (!is_space(r->held[i])) {
            text = i + 1;
            is_first = false;
        }
        at_line_begin = is_line_begin(at_line_begin, r->held[i]);
    }
    *waits = true;
    if (is_end && (r->n_calls == 0 || !is_first))
        text = r->n_held;
    else if (is_full && text == 0)
        text = r->n_held;
    return pass_text(r, text, sink);
}

/* Skips JSON text up to the end of the innermost container that is open, or as far as there is
 * text; returns its bytes. */
static size_t skip_json(struct kl_call_reader *r, bool *is_complete)
{
    for (size_t i = 0; i < r->n_held; i++) {
        char c = r->held[i];
        if (r->in_string) {
            bool closes = c == '"' && !r->is_escaped;
            r->is_escaped = c == '\\' && !r->is_escaped;
            r->in_string = !closes;
        } else if (c == '"') {
            r->in_string = true;
        } else if (c == '{' || c == '[') {
            r->depth++;
        } else if (c == '}' || c == ']') {
            r->depth -= r->depth > 0;
            *is_complete = r->depth == 0;
        }
        if (*is_complete)
            return i + 1;
    }
    return r->n_held;
}

static enum kl_status read_arguments(struct kl_call_reader *r, const struct kl_call_sink *sink)
{
    bool is_complete = false;
    size_t n = skip_json(r, &is_complete);
    enum kl_status status = pass_call(r, KL_CALL_ARGUMENTS, r->held, n, sink);
    drop(r, n);
    if (is_complete) {
        r->place = KL_CALL_IN_OBJECT;
        r->depth = 1;
    }
    return status;
}

static enum kl_status read_object(struct kl_call_reader *r, const struct kl_call_sink *sink)
{
    bool is_complete = false;
    drop(r, skip_json(r, &is_complete));
    if (!is_complete)
        return KL_OK;
    r->place = KL_CALL_BEHIND;
    return pass_call(r, KL_CALL_END, NULL, 0, sink);
}

/* Drops what closes the call, if it is there, and goes on with text. */
static void read_behind(struct kl_call_reader *r, bool is_end, bool *waits)
{
    struct cursor c = {r->held, r->held + r->n_held};
    skip_space(&c);
    size_t space = (size_t)(c.at - r->held);
    enum found found = space == r->n_held ? MORE : NO;
    if (r->form == KL_CALL_TAGGED)
        found = skip(&c, CLOSE_TAG);
    else if (found == NO && r->form == KL_CALL_FENCED)
        found = skip(&c, FENCE);
    if (found == MORE && !is_end) {
        drop(r, space);
        *waits = true;
        return;
    }
    size_t end = found == YES ? (size_t)(c.at - r->held) : found == NO ? space : r->n_held;
    drop(r, end);
    r->is_fenced = r->is_fenced && found == NO;
    r->place = KL_CALL_IN_TEXT;
    r->is_first = r->at_line_begin = true;
}

static enum kl_status read_held(struct kl_call_reader *r, bool is_end,
                                const struct kl_call_sink *sink)
{
    enum kl_status status = KL_OK;
    bool waits = false;
    while (status == KL_OK && !waits && r->n_held > 0) {
        switch (r->place) {
        case KL_CALL_IN_TEXT:
            status = read_text(r, is_end, &waits, sink);
            break;
        case KL_CALL_IN_ARGUMENTS:
            status = read_arguments(r, sink);
            break;
        case KL_CALL_IN_OBJECT:
            status = read_object(r, sink);
            break;
        case KL_CALL_BEHIND:
            read_behind(r, is_end, &waits);
            break;
        }
    }
    return status;
}

enum kl_status kl_call_reader_feed(struct kl_call_reader *r, const char *text, size_t len,
                                   const struct kl_call_sink *sink)
{
    enum kl_status status = KL_OK;
    while (len > 0 && status == KL_OK) {
        size_t n = sizeof r->held - r->n_held;
        n = n < len ? n - kl_utf8_incomplete_tail(text, n) : len;
        memcpy(r->held + r->n_held, text, n);
        r->n_held += n;
        text += n;
        len -= n;
        status = read_held(r, false, sink);
    }
    return status;
}

enum kl_status kl_call_reader_end(struct kl_call_reader *r, const struct kl_call_sink *sink)
{
    enum kl_status status = read_held(r, true, sink);
    r->n_held = 0;
    return status;
}
