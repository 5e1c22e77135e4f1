/*
 * JSON schemas at random, written as text, that make the masks of strings, names, items and numbers
 * depend on one another. Include after <stdio.h>.
 */
#ifndef RANDOM_SCHEMA_H
#define RANDOM_SCHEMA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

static uint64_t random_seed = 1;

static inline unsigned draw(unsigned below)
{
    random_seed = random_seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_seed >> 33) % below;
}

struct schema_text {
    char bytes[16384];
    size_t len;
};

static inline void add(struct schema_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->bytes + t->len, sizeof t->bytes - t->len, format, args);
    va_end(args);
    t->len += (size_t)n;
    if (t->len >= sizeof t->bytes)
        t->len = sizeof t->bytes - 1;
}

#define ONE_OF(list) (list)[draw(sizeof(list) / sizeof *(list))]

static const char *const some_patterns[] = {
    "^[a-z]+$",
    "[a-f0-9]{4}-[a-f0-9]{2}",
    ".*",
    "^.{1,20}$",
    "^.{1,256}$",
    "a",
    "^(aa|ab)*$",
    "\xC3\xA9$",
    "^a{2,40}$",
    "^[^a]*$",
    "\\\\d{3}",
    "^\\\\S+ \\\\S+$",
    "^p[a-n]",
    "^[\\\\u0000-\\\\u001f]*$",
    "^\\\"",
    "\\\\\\\\",
    "^(?:[a-z]{1,3},)*[a-z]$",
    "^x-",
    "[^\\\\x00-\\\\x7f]",
    "^$",
    "^[a-zA-Z0-9 _.-]{0,64}$",
    "^\\\\S",
    "^.{3}$",
};
static const char *const some_formats[] = {"date", "time", "date-time", "uuid", "email", "ipv4"};
static const char *const some_words[] = {
    "a",        "aa",  "aab", "b",        "p",  "pa",    "a\\\"b",           "",
    "\xC3\xA9", "x-a", "\\n", "\\u0001a", "00", "a\\\\", "aaaaaaaaaaaaaaaa", "\xF0\x9D\x84\x9E"};

static inline void add_words(struct schema_text *t, unsigned n)
{
    unsigned from = draw(sizeof some_words / sizeof *some_words);
    for (unsigned i = 0; i < n; i++)
        add(t, "%s\"%s\"", i > 0 ? "," : "",
            some_words[(from + i) % (sizeof some_words / sizeof *some_words)]);
}

static inline void add_lengths(struct schema_text *t)
{
    if (draw(2) == 0)
        add(t, ",\"minLength\":%u", draw(4));
    if (draw(2) == 0)
        add(t, ",\"maxLength\":%u", draw(4) == 0 ? 1500 + draw(1500) : draw(30));
}

/* The assertions of a string. */
static inline void add_string(struct schema_text *t)
{
    add(t, "{\"type\":\"string\"");
    switch (draw(11)) {
    case 0:
        break;
    case 1:
    case 2:
        add(t, ",\"pattern\":\"%s\"", ONE_OF(some_patterns));
        break;
    case 3:
        add(t, ",\"pattern\":\"%s\"", ONE_OF(some_patterns));
        add_lengths(t);
        break;
    case 4:
        add(t, ",\"format\":\"%s\"", ONE_OF(some_formats));
        add_lengths(t);
        break;
    case 5:
        add_lengths(t);
        break;
    case 6:
        add(t, ",\"enum\":[");
        add_words(t, 1 + draw(5));
        add(t, "]");
        break;
    case 7:
        add(t, ",\"anyOf\":[{\"pattern\":\"%s\"},{\"pattern\":\"%s\"", ONE_OF(some_patterns),
            ONE_OF(some_patterns));
        add_lengths(t);
        add(t, "}]");
        break;
    case 8:
        add(t, ",\"not\":{\"pattern\":\"%s\"}", ONE_OF(some_patterns));
        break;
    case 9:
        add(t, ",\"oneOf\":[{\"pattern\":\"%s\"},{\"maxLength\":%u}]", ONE_OF(some_patterns),
            draw(9));
        break;
    default:
        add(t, ",\"allOf\":[{\"pattern\":\"%s\"},{\"pattern\":\"%s\"}]", ONE_OF(some_patterns),
            ONE_OF(some_patterns));
        break;
    }
    add(t, "}");
}

static inline void add_number(struct schema_text *t)
{
    add(t, "{\"type\":\"%s\"", draw(2) == 0 ? "integer" : "number");
    if (draw(2) == 0)
        add(t, ",\"%s\":%d", draw(2) == 0 ? "minimum" : "exclusiveMinimum", (int)draw(200) - 100);
    if (draw(2) == 0)
        add(t, ",\"%s\":%u.5", draw(2) == 0 ? "maximum" : "exclusiveMaximum", draw(1200));
    if (draw(4) == 0)
        add(t, ",\"multipleOf\":%u", 1 + draw(7));
    add(t, "}");
}

static inline void add_schema(struct schema_text *t, unsigned depth);

static inline void add_object(struct schema_text *t, unsigned depth)
{
    unsigned n = draw(4), from = draw(sizeof some_words / sizeof *some_words);
    add(t, "{\"type\":\"object\",\"properties\":{");
    for (unsigned i = 0; i < n; i++) {
        add(t, "%s\"%s\":", i > 0 ? "," : "",
            some_words[(from + i) % (sizeof some_words / sizeof *some_words)]);
        add_schema(t, depth);
    }
    add(t, "}");
    if (draw(3) == 0) {
        add(t, ",\"patternProperties\":{\"%s\":", ONE_OF(some_patterns));
        add_schema(t, depth);
        add(t, "}");
    }
    unsigned kind = draw(4);
    if (kind == 3) {
        add(t, ",\"additionalProperties\":");
        add_schema(t, depth);
    } else if (kind > 0) {
        add(t, ",\"additionalProperties\":%s", kind == 1 ? "true" : "false");
    }
    if (draw(4) == 0) {
        add(t, ",\"propertyNames\":");
        add_string(t);
    }
    if (n > 0 && draw(2) == 0)
        add(t, ",\"required\":[\"%s\"]", some_words[from]);
    if (draw(5) == 0)
        add(t, ",\"minProperties\":%u", draw(3));
    if (draw(5) == 0)
        add(t, ",\"maxProperties\":%u", 1 + draw(3));
    add(t, "}");
}

static inline void add_array(struct schema_text *t, unsigned depth)
{
    add(t, "{\"type\":\"array\"");
    if (draw(3) == 0) {
        add(t, ",\"prefixItems\":[");
        add_schema(t, depth);
        add(t, ",");
        add_schema(t, depth);
        add(t, "]");
    }
    if (draw(3) > 0) {
        add(t, ",\"items\":");
        add_schema(t, depth);
    }
    if (draw(4) == 0) {
        add(t, ",\"contains\":");
        add_schema(t, depth);
    }
    if (draw(3) == 0)
        add(t, ",\"uniqueItems\":true");
    if (draw(3) == 0)
        add(t, ",\"minItems\":%u", draw(3));
    if (draw(3) == 0)
        add(t, ",\"maxItems\":%u", 1 + draw(3));
    add(t, "}");
}

static inline void add_choice(struct schema_text *t, unsigned depth)
{
    static const char *const words[] = {"anyOf", "oneOf", "anyOf", "if"};
    if (draw(5) == 0) {
        add(t, "{\"not\":");
        add_schema(t, depth);
        add(t, "}");
        return;
    }
    unsigned kind = draw(4);
    add(t, "{\"%s\":%s", words[kind], kind == 3 ? "" : "[");
    add_schema(t, depth);
    add(t, kind == 3 ? ",\"then\":" : ",");
    add_schema(t, depth);
    if (kind == 3 && draw(2) == 0) {
        add(t, ",\"else\":");
        add_schema(t, depth);
    }
    add(t, kind == 3 ? "" : "]");
    if (kind > 1 && draw(2) == 0) {
        add(t, ",\"not\":");
        add_schema(t, depth);
    }
    add(t, "}");
}

/* An object whose names run out, or would. */
static inline void add_names(struct schema_text *t)
{
    static const char *const names[] = {
        "^[ab]{1,3}$", "^(x|aa?|b[a-z])$",         "^[a-z]$",   "^[\xC3\xA0-\xC3\xA9]{2}$",
        "^(a|b*c)$",   "^[\\\\x01-\\\\x40]{0,2}$", "^p[a-n]?$", "^(aab|x-|00?)[a-d]$"};
    add(t, "{\"type\":\"object\",\"properties\":{");
    add(t, draw(2) == 0 ? "" : "\"a\":{\"const\":1},\"x-a\":{\"const\":1},\"aab\":{\"const\":1}");
    add(t, "},\"additionalProperties\":%s", draw(2) == 0 ? "{\"type\":\"null\"}" : "false");
    if (draw(4) > 0)
        add(t, ",\"patternProperties\":{\"%s\":{\"const\":0}}", ONE_OF(names));
    if (draw(3) == 0)
        add(t, ",\"anyOf\":[{\"propertyNames\":{\"pattern\":\"%s\"}},{\"maxProperties\":3}]",
            ONE_OF(names));
    if (draw(3) == 0)
        add(t, ",\"propertyNames\":{\"maxLength\":%u}", draw(4));
    if (draw(3) == 0)
        add(t, ",\"propertyNames\":{\"pattern\":\"%s\",\"maxLength\":%u}", ONE_OF(names), draw(5));
    if (draw(3) > 0)
        add(t, ",\"minProperties\":%u", draw(30));
    add(t, "}");
}

/* A schema with at most `depth` levels of other ones in it. */
static inline void add_schema(struct schema_text *t, unsigned depth)
{
    unsigned kind = depth == 0 ? draw(6) : 2 + draw(10);
    if (kind == 0)
        add(t, "%s", draw(3) == 0 ? "{\"type\":[\"boolean\",\"string\"]}" : "true");
    else if (kind == 1)
        add_number(t);
    else if (kind < 6)
        add_string(t);
    else if (kind < 9 && draw(5) == 0)
        add_names(t);
    else if (kind < 9)
        add_object(t, depth - 1);
    else if (kind < 11)
        add_array(t, depth - 1);
    else
        add_choice(t, depth - 1);
}

#endif
