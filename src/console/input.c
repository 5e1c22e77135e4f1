#include "console/input.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_standard_input(const char *path)
{
    return path == NULL || strcmp(path, "-") == 0;
}

enum kl_status kl_read_input(const char *path, struct kl_buffer *out, struct kl_error *err)
{
    bool is_stdin = is_standard_input(path);
    const char *name = is_stdin ? "standard input" : path;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (file == NULL)
        return kl_fail_errno(err, "cannot open %s", name);

    char piece[65536];
    size_t n;
    enum kl_status status = kl_buffer_append(out, "", 0);
    while (status == KL_OK && (n = fread(piece, 1, sizeof piece, file)) > 0)
        status = kl_buffer_append(out, piece, n);
    if (status == KL_ERR_LIMIT)
        kl_fail(err, status, "%s is larger than %zu bytes", name, out->cap);
    else if (status != KL_OK)
        kl_fail_memory(err, name, out->len + sizeof piece);
    else if (ferror(file))
        status = kl_fail_errno(err, "cannot read %s", name);
    if (!is_stdin)
        fclose(file);
    return status;
}

enum kl_status kl_read_text(const char *path, struct kl_buffer *out, struct kl_error *err)
{
    static const char mark[] = "\xEF\xBB\xBF";
    size_t before = out->len, n = strlen(mark);
    enum kl_status status = kl_read_input(path, out, err);
    if (status != KL_OK)
        return status;
    char *text = out->data + before;
    if (strncmp(text, mark, n) == 0) {
        memmove(text, text + n, out->len - before - n + 1);
        out->len -= n;
    }
    size_t len = strlen(text);
    if (len != out->len - before)
        return kl_fail(err, KL_ERR_FORMAT, "%s is not text: it has a NUL byte after %zu bytes",
                       is_standard_input(path) ? "standard input" : path, len);
    return KL_OK;
}
