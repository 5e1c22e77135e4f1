#include "schema/python_json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* A member of an object in the output, with the quotes of its name. */
struct member {
    size_t name, name_end, value, value_end;
};

struct conversion {
    const char *text;
    size_t len, at, depth;
    struct kl_buffer *out;
    /* those of all objects that are open, the innermost last */
    struct member *members;
    size_t n_members, room;
    struct kl_error *err;
};

static enum kl_status fail(const struct conversion *c, const char *expected)
{
    return kl_fail(c->err, KL_ERR_INVALID, "not JSON: %s was expected at byte %zu", expected,
                   c->at);
}

static enum kl_status put(struct conversion *c, const void *bytes, size_t n)
{
    enum kl_status status = kl_buffer_append(c->out, bytes, n);
    if (status == KL_OK)
        return KL_OK;
    return kl_fail(c->err, status, "no room for more than %zu bytes of JSON", c->out->len);
}

static int peek(const struct conversion *c)
{
    return c->at < c->len ? (unsigned char)c->text[c->at] : -1;
}

static void skip_blanks(struct conversion *c)
{
    while (c->at < c->len && memchr(" \t\n\r", c->text[c->at], 4) != NULL)
        c->at++;
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool read_hex(struct conversion *c, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        int byte = peek(c);
        const char *digit = byte > 0 ? strchr(digits, byte) : NULL;
        if (digit == NULL)
            return false;
        *value = *value * 16 + (uint32_t)(digit - digits) % 16;
    }
    return true;
}

/* Writes one character of a string, which was escaped or not. */
static enum kl_status put_character(struct conversion *c, uint32_t character)
{
    static const char escaped[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    const char *place = character != 0 && character < 128 ? strchr(escaped, (int)character) : NULL;
    char bytes[8];
    size_t n;
    if (place != NULL) {
        bytes[0] = '\\';
        bytes[1] = letters[place - escaped];
        n = 2;
    } else if (character < 0x20) {
        n = (size_t)snprintf(bytes, sizeof bytes, "\\u%04x", (unsigned)character);
    } else {
        n = kl_utf8_encode(character, bytes);
    }
    return put(c, bytes, n);
}

/* Behind a backslash. */
static enum kl_status convert_escape(struct conversion *c)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    size_t begin = c->at - 1;
    int letter = peek(c);
    const char *place = letter > 0 ? strchr(letters, letter) : NULL;
    uint32_t high, low;
    c->at += letter >= 0;
    if (place != NULL)
        return put_character(c, (unsigned char)meant[place - letters]);
    if (letter != 'u') {
        c->at = begin;
        return fail(c, "an escape of JSON");
    }
    if (!read_hex(c, &high))
        return fail(c, "a hexadecimal digit");
    if (high < 0xd800 || high > 0xdfff)
        return put_character(c, high);
    bool paired = high < 0xdc00 && peek(c) == '\\' && c->at + 1 < c->len &&
                  c->text[c->at + 1] == 'u' && (c->at += 2, read_hex(c, &low)) && low >= 0xdc00 &&
                  low <= 0xdfff;
    if (paired)
        return put_character(c, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
    return kl_fail(c->err, KL_ERR_INVALID,
                   "the escape \\u%04x at byte %zu is half of a surrogate pair: no text in UTF-8 "
                   "has it",
                   (unsigned)high, begin);
}

static enum kl_status convert_string(struct conversion *c)
{
    enum kl_status status = put(c, "\"", 1);
    if (peek(c) != '"')
        return fail(c, "a string");
    c->at++;
    while (status == KL_OK) {
        size_t begin = c->at;
        while (c->at < c->len && (unsigned char)c->text[c->at] >= 0x20 && c->text[c->at] != '"' &&
               c->text[c->at] != '\\')
            c->at++;
        if (!kl_utf8_valid(c->text + begin, c->at - begin))
            return kl_fail(c->err, KL_ERR_INVALID, "the string at byte %zu is not UTF-8", begin);
        status = put(c, c->text + begin, c->at - begin);
        if (status != KL_OK)
            return status;
        int byte = peek(c);
        if (byte != '"' && byte != '\\')
            return fail(c, byte < 0 ? "the end of a string" : "an escape for a control character");
        c->at++;
        if (byte == '"')
            return put(c, "\"", 1);
        status = convert_escape(c);
    }
    return status;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Writes `value` with n digits as "1.25e+03"; false: that does not read back. */
static bool write_digits(double value, int n, char text[40])
{
    int exponent;
    snprintf(text, 40, "%.*e", n - 1, value);
    if (strtod(text, NULL) == value)
        return true;
    /* A power of two is further from its upper neighbour than from its lower one: the next decimal
     * above may read back where the nearest, below, does not. */
    char *last = strchr(text, 'e') - 1;
    if (frexp(value, &exponent) != 0.5 || *last == '9')
        return false;
    ++*last;
    return strtod(text, NULL) == value;
}

/* Finds the shortest decimal that reads back as `value` (finite, > 0) and, of these, the nearest:
 * digits without trailing zeros and the decimal exponent of the first one. Returns their number. */
static int shortest_digits(double value, char digits[20], int *exponent)
{
    char text[40];
    int n = 1, length = 0;
    while (!write_digits(value, n, text) && n < 17) /* 17 always read back */
        n++;
    for (const char *p = text; *p != 'e'; p++)
        if (*p != '.')
            digits[length++] = *p;
    while (length > 1 && digits[length - 1] == '0')
        length--;
    *exponent = atoi(strchr(text, 'e') + 1);
    return length;
}

/* As float.__repr__: with an exponent below 1e-4 and from 1e16 on. */
static enum kl_status put_double(struct conversion *c, double value)
{
    char digits[20], text[48];
    int exponent, n = 0;
    if (signbit(value))
        text[n++] = '-';
    value = fabs(value);
    if (value == 0 || isinf(value)) {
        const char *word = value == 0 ? "0.0" : "Infinity";
        memcpy(text + n, word, strlen(word));
        return put(c, text, (size_t)n + strlen(word));
    }
    int length = shortest_digits(value, digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        text[n++] = digits[0];
        if (length > 1)
            text[n++] = '.';
        memcpy(text + n, digits + 1, (size_t)length - 1);
        n += length - 1;
        n += snprintf(text + n, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return put(c, text, (size_t)n);
    }
    /* at least one digit before the point and one behind it */
    int first = exponent < 0 ? exponent : 0,
        last = length - 1 > exponent + 1 ? length - 1 : exponent + 1;
    for (int i = first; i <= last; i++) {
        text[n++] = i >= 0 && i < length ? digits[i] : '0';
        if (i == (exponent < 0 ? first : exponent))
            text[n++] = '.';
    }
    return put(c, text, (size_t)n);
}

static size_t skip_digits(struct conversion *c)
{
    size_t begin = c->at;
    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return c->at - begin;
}

/* Whether the text goes on with a word, which is then passed. */
static bool skip_word(struct conversion *c, const char *word)
{
    size_t n = strlen(word);
    if (c->len - c->at < n || memcmp(c->text + c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

static enum kl_status convert_number(struct conversion *c)
{
    size_t begin = c->at;
    bool negative = skip_word(c, "-"), is_integer = true;
    if (negative && skip_word(c, "Infinity"))
        return put(c, "-Infinity", 9);
    if (peek(c) == '0')
        c->at++;
    else if (skip_digits(c) == 0)
        return fail(c, negative ? "a digit" : "a value");
    size_t end = c->at;
    if (skip_word(c, ".")) {
        is_integer = false;
        if (skip_digits(c) == 0)
            return fail(c, "a digit");
        end = c->at;
    }
    if (skip_word(c, "e") || skip_word(c, "E")) {
        is_integer = false;
        (void)(skip_word(c, "+") || skip_word(c, "-"));
        if (skip_digits(c) == 0)
            return fail(c, "a digit");
        end = c->at;
    }
    const char *text = c->text + begin;
    if (is_integer)
        return end - begin == 2 && memcmp(text, "-0", 2) == 0 ? put(c, "0", 1)
                                                              : put(c, text, end - begin);
    /* strtod reads up to a NUL, and the text need not have one */
    char *copy = malloc(end - begin + 1);
    if (copy == NULL)
        return kl_fail_memory(c->err, "a number", end - begin + 1);
    memcpy(copy, text, end - begin);
    copy[end - begin] = '\0';
    double value = strtod(copy, NULL);
    free(copy);
    return put_double(c, value);
}

/* ---- containers ------------------------------------------------------------------------------ */

static enum kl_status convert_value(struct conversion *c);

static enum kl_status convert_array(struct conversion *c)
{
    enum kl_status status = put(c, "[", 1);
    c->at++;
    skip_blanks(c);
    if (status == KL_OK && skip_word(c, "]"))
        return put(c, "]", 1);
    while (status == KL_OK && (status = convert_value(c)) == KL_OK) {
        if (skip_word(c, "]"))
            return put(c, "]", 1);
        if (!skip_word(c, ","))
            return fail(c, "',' or ']'");
        status = put(c, ", ", 2);
        skip_blanks(c);
    }
    return status;
}

static enum kl_status add_member(struct conversion *c, struct member member)
{
    if (c->n_members == c->room) {
        size_t room = c->room == 0 ? 64 : 2 * c->room;
        struct member *members = realloc(c->members, room * sizeof *members);
        if (members == NULL)
            return kl_fail_memory(c->err, "the members of an object", room * sizeof *members);
        c->members = members;
        c->room = room;
    }
    c->members[c->n_members++] = member;
    return KL_OK;
}

static bool have_same_name(const char *output, const struct member *a, const struct member *b)
{
    size_t len = a->name_end - a->name;
    return b->name_end - b->name == len && memcmp(output + a->name, output + b->name, len) == 0;
}

/* Orders by name, members of the same name by place. */
static int compare_names(const void *a, const void *b, void *output)
{
    const struct member *x = a, *y = b;
    size_t x_len = x->name_end - x->name, y_len = y->name_end - y->name;
    int order = x_len != y_len ? (x_len < y_len ? -1 : 1)
                               : memcmp((char *)output + x->name, (char *)output + y->name, x_len);
    return order != 0 ? order : (x->name > y->name) - (x->name < y->name);
}

static int compare_places(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return (x->name > y->name) - (x->name < y->name);
}

/* Writes an object again, the members of which are sorted by name, without those that have a name
 * again; it begins at out->data[begin]. */
static enum kl_status write_again(struct conversion *c, size_t begin, struct member *members,
                                  size_t n)
{
    size_t size = c->out->len - begin, kept = 1;
    char *before = malloc(size);
    if (before == NULL)
        return kl_fail_memory(c->err, "an object with members of the same name", size);
    memcpy(before, c->out->data + begin, size);
    for (size_t i = 1; i < n; i++) {
        if (have_same_name(c->out->data, &members[kept - 1], &members[i])) {
            members[kept - 1].value = members[i].value;
            members[kept - 1].value_end = members[i].value_end;
        } else {
            members[kept++] = members[i];
        }
    }
    qsort(members, kept, sizeof *members, compare_places);
    c->out->len = begin + 1; /* behind '{' */
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < kept && status == KL_OK; i++) {
        const struct member *m = &members[i];
        if (i > 0)
            status = put(c, ", ", 2);
        if (status == KL_OK)
            status = put(c, before + m->name - begin, m->name_end - m->name);
        if (status == KL_OK)
            status = put(c, ": ", 2);
        if (status == KL_OK)
            status = put(c, before + m->value - begin, m->value_end - m->value);
    }
    free(before);
    return status;
}

/* The object at out->data[begin] is complete but for its '}'; its members are those from `first`
 * on. */
static enum kl_status end_object(struct conversion *c, size_t begin, size_t first)
{
    struct member *members = c->members + first;
    size_t n = c->n_members - first;
    bool repeated = false;
    enum kl_status status = KL_OK;
    if (n > 1)
        qsort_r(members, n, sizeof *members, compare_names, c->out->data);
    for (size_t i = 1; i < n; i++)
        repeated = repeated || have_same_name(c->out->data, &members[i - 1], &members[i]);
    if (repeated)
        status = write_again(c, begin, members, n);
    c->n_members = first;
    return status == KL_OK ? put(c, "}", 1) : status;
}

static enum kl_status convert_member(struct conversion *c)
{
    struct member member = {.name = c->out->len};
    enum kl_status status;
    skip_blanks(c);
    if (peek(c) != '"')
        return fail(c, "the name of a member");
    if ((status = convert_string(c)) != KL_OK)
        return status;
    member.name_end = c->out->len;
    skip_blanks(c);
    if (!skip_word(c, ":"))
        return fail(c, "':'");
    if ((status = put(c, ": ", 2)) != KL_OK)
        return status;
    member.value = c->out->len;
    if ((status = convert_value(c)) != KL_OK)
        return status;
    member.value_end = c->out->len;
    return add_member(c, member);
}

static enum kl_status convert_object(struct conversion *c)
{
    size_t begin = c->out->len, first = c->n_members;
    enum kl_status status = put(c, "{", 1);
    c->at++;
    skip_blanks(c);
    if (status == KL_OK && skip_word(c, "}"))
        return put(c, "}", 1);
    while (status == KL_OK && (status = convert_member(c)) == KL_OK) {
        if (skip_word(c, "}"))
            return end_object(c, begin, first);
        if (!skip_word(c, ","))
            return fail(c, "',' or '}'");
        status = put(c, ", ", 2);
    }
    return status;
}

/* Converts a value with the whitespace around it. */
static enum kl_status convert_value(struct conversion *c)
{
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity"};
    enum kl_status status = KL_OK;
    skip_blanks(c);
    int byte = peek(c);
    if (byte == '{' || byte == '[') {
        if (c->depth == KL_PYTHON_JSON_MAX_DEPTH)
            return kl_fail(c->err, KL_ERR_LIMIT,
                           "the JSON is nested more than %d levels deep (at byte %zu)",
                           KL_PYTHON_JSON_MAX_DEPTH, c->at);
        c->depth++;
        status = byte == '{' ? convert_object(c) : convert_array(c);
        c->depth--;
    } else if (byte == '"') {
        status = convert_string(c);
    } else {
        size_t i = 0, n = sizeof words / sizeof words[0];
        while (i < n && !skip_word(c, words[i]))
            i++;
        status = i < n ? put(c, words[i], strlen(words[i])) : convert_number(c);
    }
    skip_blanks(c);
    return status;
}

enum kl_status kl_python_json(const char *text, size_t len, size_t *at, struct kl_buffer *out,
                              struct kl_error *err)
{
    struct conversion c = {.text = text, .len = len, .at = *at, .out = out, .err = err};
    enum kl_status status = convert_value(&c);
    *at = c.at;
    free(c.members);
    return status;
}

/* ---- spans ----------------------------------------------------------------------------------- */

/* The length of the value at the beginning of a text that was written above. */
static size_t value_length(const char *text)
{
    size_t depth = 0, i = 0;
    for (;; i++) {
        char byte = text[i];
        if (byte == '"') {
            for (i++; text[i] != '"'; i++)
                i += text[i] == '\\';
            if (depth == 0)
                return i + 1;
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if (byte == '}' || byte == ']') {
            if (depth <= 1)
                return i + depth;
            depth--;
        } else if (depth == 0 && (byte == ',' || byte == ':' || byte == '\0')) {
            return i;
        }
    }
}

struct kl_json_span kl_json_span_first(struct kl_json_span container)
{
    if (container.text == NULL || container.len <= 2 ||
        (container.text[0] != '{' && container.text[0] != '['))
        return (struct kl_json_span){0};
    const char *text = container.text + 1;
    return (struct kl_json_span){text, value_length(text)};
}

struct kl_json_span kl_json_span_next(struct kl_json_span span)
{
    const char *text = span.text + span.len;
    if (*text != ',' && *text != ':')
        return (struct kl_json_span){0};
    return (struct kl_json_span){text + 2, value_length(text + 2)};
}

struct kl_json_span kl_json_span_member(struct kl_json_span object, const char *name)
{
    if (object.text == NULL || object.text[0] != '{')
        return (struct kl_json_span){0};
    struct kl_json_span span = kl_json_span_first(object);
    for (; span.text != NULL; span = kl_json_span_next(kl_json_span_next(span)))
        if (span.len == strlen(name) + 2 && memcmp(span.text + 1, name, span.len - 2) == 0)
            return kl_json_span_next(span);
    return span;
}
