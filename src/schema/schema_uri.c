#include "schema/schema_uri.h"

#include <stdbool.h>
#include <string.h>

/* The parts of a reference; without the delimiters ':', '//', '?'. n: length, or -1 if absent. */
struct part {
    const char *at;
    long n;
};

struct parts {
    struct part scheme, authority, path, query;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static struct parts split(const char *text)
{
    struct parts parts = {{text, -1}, {text, -1}, {text, 0}, {text, -1}};
    size_t n = strcspn(text, ":/?#");
    if (n > 0 && text[n] == ':' && is_alpha(text[0])) {
        parts.scheme.n = (long)n;
        text += n + 1;
    }
    if (text[0] == '/' && text[1] == '/') {
        parts.authority = (struct part){text + 2, (long)strcspn(text + 2, "/?#")};
        text += 2 + parts.authority.n;
    }
    parts.path = (struct part){text, (long)strcspn(text, "?#")};
    text += parts.path.n;
    if (*text == '?')
        parts.query = (struct part){text + 1, (long)strcspn(text + 1, "#")};
    return parts;
}

/* Removes the segments "." and ".." of path[0..n) in place (section 5.2.4) and returns its new
 * length. */
static size_t remove_dots(char *path, size_t n)
{
    size_t from = 0, to = 0;
    while (from < n) {
        size_t begin = from + (path[from] == '/'), end = begin;
        while (end < n && path[end] != '/')
            end++;
        size_t len = end - begin;
        bool one = len == 1 && path[begin] == '.';
        bool two = len == 2 && path[begin] == '.' && path[begin + 1] == '.';
        if (two) {
            while (to > 0 && path[to - 1] != '/')
                to--;
            if (to > 0)
                to--;
        }
        if (one || two) {
            if (end == n && path[from] == '/')
                path[to++] = '/';
        } else {
            memmove(path + to, path + from, end - from);
            to += end - from;
        }
        from = end;
    }
    return to;
}

static enum kl_status append(struct kl_buffer *out, const char *before, struct part part,
                             const char *after)
{
    if (part.n < 0)
        return KL_OK;
    enum kl_status status = kl_buffer_append_string(out, before);
    if (status == KL_OK)
        status = kl_buffer_append(out, part.at, (size_t)part.n);
    return status == KL_OK ? kl_buffer_append_string(out, after) : status;
}

/* Appends the path of the base up to its last '/', then that of the reference. */
static enum kl_status merge(const struct parts *base, struct part path, struct kl_buffer *out)
{
    struct part before = base->path;
    while (before.n > 0 && before.at[before.n - 1] != '/')
        before.n--;
    enum kl_status status = KL_OK;
    if (base->authority.n >= 0 && base->path.n == 0)
        status = kl_buffer_append_string(out, "/");
    else
        status = append(out, "", before, "");
    return status == KL_OK ? append(out, "", path, "") : status;
}

enum kl_status kl_schema_uri_resolve(const char *base_text, const char *reference,
                                     struct kl_buffer *out)
{
    struct parts base = split(base_text), to = split(reference);
    bool whole = to.scheme.n >= 0, same_path = false;
    if (!whole) {
        to.scheme = base.scheme;
        if (to.authority.n < 0) {
            to.authority = base.authority;
            same_path = to.path.n == 0;
            if (same_path && to.query.n < 0)
                to.query = base.query;
        } else {
            whole = true;
        }
    }
    enum kl_status status = append(out, "", to.scheme, ":");
    if (status == KL_OK)
        status = append(out, "//", to.authority, "");
    size_t begin = out->len;
    if (status == KL_OK && same_path)
        status = append(out, "", base.path, "");
    else if (status == KL_OK && (whole || to.path.at[0] == '/'))
        status = append(out, "", to.path, "");
    else if (status == KL_OK)
        status = merge(&base, to.path, out);
    if (status == KL_OK && !same_path && out->len > begin)
        out->len = begin + remove_dots(out->data + begin, out->len - begin);
    if (status == KL_OK)
        status = append(out, "?", to.query, "");
    return status == KL_OK ? kl_buffer_append(out, "", 0) : status;
}

const char *kl_schema_uri_fragment(const char *reference)
{
    const char *hash = strchr(reference, '#');
    return hash == NULL ? NULL : hash + 1;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum kl_status kl_schema_uri_decode(const char *fragment, struct kl_buffer *out)
{
    enum kl_status status = kl_buffer_append(out, "", 0);
    for (const char *at = fragment; *at != '\0' && status == KL_OK; at++) {
        char byte = *at;
        if (byte == '%' && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
            byte = (char)(hex(at[1]) * 16 + hex(at[2]));
            at += 2;
        }
        status = kl_buffer_append(out, &byte, 1);
    }
    return status;
}
