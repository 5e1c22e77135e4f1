#include "grammar/regex_posix.h"

#include <stdbool.h>
#include <string.h>

/* Characters that regex.h gives a meaning, outside and inside of brackets. */
#define SPECIAL          "^$\\.*+?()[]{}|"
#define SPECIAL_IN_CLASS "^\\-[]"

struct translation {
    const char *pattern, *at;
    struct kl_buffer *out;
    struct kl_error *err;
    enum kl_status status; /* sticks */
};

static void fail(struct translation *t, enum kl_status status, const char *what)
{
    if (t->status == KL_OK)
        t->status =
            kl_fail(t->err, status, "pattern: at byte %zu: %s", (size_t)(t->at - t->pattern), what);
}

static void put(struct translation *t, const char *text, size_t len)
{
    if (t->status != KL_OK)
        return;
    t->status = kl_buffer_append(t->out, text, len);
    if (t->status == KL_ERR_LIMIT)
        kl_fail(t->err, t->status, "pattern: longer than %zu bytes", t->out->cap);
    else if (t->status != KL_OK)
        kl_fail_memory(t->err, "a pattern", len);
}

/* Writes a character that stands for itself. */
static void put_literal(struct translation *t, char c, const char *special)
{
    if (strchr(special, c) != NULL)
        put(t, "\\", 1);
    put(t, &c, 1);
}

/* ---- brackets -------------------------------------------------------------------------------- */

/* Writes "[:name:]", which begins at t->at. Returns false if there is none. */
static bool take_class(struct translation *t)
{
    static const char *const classes[][2] = {
        {"[:alnum:]", "A-Za-z0-9"},
        {"[:alpha:]", "A-Za-z"},
        {"[:blank:]", " \\t"},
        {"[:cntrl:]", "\\x00-\\x1f\\x7f"},
        {"[:digit:]", "0-9"},
        {"[:graph:]", "!-~"},
        {"[:lower:]", "a-z"},
        {"[:print:]", " -~"},
        {"[:punct:]", "!-/:-@\\[-`{-~"},
        {"[:space:]", " \\t\\n\\v\\f\\r"},
        {"[:upper:]", "A-Z"},
        {"[:xdigit:]", "0-9A-Fa-f"},
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        size_t len = strlen(classes[i][0]);
        if (strncmp(t->at, classes[i][0], len) == 0) {
            put(t, classes[i][1], strlen(classes[i][1]));
            t->at += len;
            return true;
        }
    }
    return false;
}

/* Writes one character of a bracket expression; all bytes of it, which are no special ones. */
static void take_member(struct translation *t)
{
    if (t->at[0] == '[' && t->at[1] != '\0' && strchr(".=:", t->at[1]) != NULL) {
        fail(t, KL_ERR_UNSUPPORTED,
             "expected a class of characters such as [:digit:] (collating elements and "
             "equivalence classes are not supported)");
        return;
    }
    put_literal(t, *t->at++, SPECIAL_IN_CLASS);
    while (((unsigned char)*t->at & 0xC0) == 0x80)
        put(t, t->at++, 1);
}

static void take_brackets(struct translation *t)
{
    put(t, t->at++, 1);
    if (*t->at == '^')
        put(t, t->at++, 1);
    for (bool first = true; t->status == KL_OK && (first || *t->at != ']'); first = false) {
        if (*t->at == '\0')
            fail(t, KL_ERR_INVALID, "expected ']'");
        else if (!take_class(t)) {
            take_member(t);
            if (t->status == KL_OK && t->at[0] == '-' && t->at[1] != ']' && t->at[1] != '\0') {
                put(t, t->at++, 1);
                take_member(t);
            }
        }
    }
    put(t, t->at++, 1);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static void take_escape(struct translation *t)
{
    char c = *++t->at;
    if (c == '\0')
        fail(t, KL_ERR_INVALID, "expected a character behind the backslash");
    else if (c >= '1' && c <= '9')
        fail(t, KL_ERR_UNSUPPORTED,
             "back references are not supported: they take exponential time");
    else if (strchr("wWsSdD", c) != NULL)
        put(t, t->at - 1, 2);
    else if (strchr("bB<>`'", c) != NULL)
        fail(t, KL_ERR_UNSUPPORTED, "boundaries of words are not supported");
    else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '0')
        fail(t, KL_ERR_UNSUPPORTED, "this escape is not one of POSIX's");
    else
        put_literal(t, c, SPECIAL);
    t->at++;
}

static bool is_repetition(char c)
{
    return c == '*' || c == '+' || c == '?' || c == '{';
}

static void take_repetition(struct translation *t)
{
    const char *end = *t->at == '{' ? strchr(t->at, '}') : t->at;
    if (end == NULL || (end > t->at && (t->at[1] < '0' || t->at[1] > '9'))) {
        fail(t, KL_ERR_INVALID, "expected numbers in { }, as in {2,3}");
        return;
    }
    put(t, t->at, (size_t)(end + 1 - t->at));
    t->at = end + 1;
    if (is_repetition(*t->at))
        fail(t, KL_ERR_UNSUPPORTED, "a repetition of a repetition; put the first into ( )");
}

enum kl_status kl_regex_from_posix(const char *pattern, struct kl_buffer *out, struct kl_error *err)
{
    struct translation t = {.pattern = pattern, .at = pattern, .out = out, .err = err};
    put(&t, "", 0);
    while (t.status == KL_OK && *t.at != '\0') {
        if (*t.at == '\\') {
            take_escape(&t);
        } else if (*t.at == '[') {
            take_brackets(&t);
        } else if (is_repetition(*t.at)) {
            take_repetition(&t);
        } else if (t.at[0] == '(' && t.at[1] == '?') {
            fail(&t, KL_ERR_UNSUPPORTED, "groups that begin with (? are not POSIX's");
        } else if (*t.at == ']' || *t.at == '}') {
            put_literal(&t, *t.at++, SPECIAL);
        } else if (*t.at == '.') { /* any character, also the end of a line */
            put(&t, "[^]", 3);
            t.at++;
        } else {
            put(&t, t.at++, 1);
        }
    }
    return t.status;
}
