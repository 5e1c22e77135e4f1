#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/foreign_text.h"

static void format_text(struct kl_error *err, enum kl_status status, const char *format, va_list ap)
{
    if (err == NULL)
        return;
    err->status = status;
    vsnprintf(err->text, sizeof err->text, format, ap);
    kl_foreign_clean(err->text); /* texts contain names from files and peers */
}

enum kl_status kl_fail(struct kl_error *err, enum kl_status status, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    format_text(err, status, format, ap);
    va_end(ap);
    return status;
}

enum kl_status kl_fail_errno(struct kl_error *err, const char *format, ...)
{
    int number = errno;
    enum kl_status status = KL_ERR_IO;
    if (number == ENOMEM)
        status = KL_ERR_MEMORY;
    else if (number == ENOENT)
        status = KL_ERR_NOT_FOUND;

    va_list ap;
    va_start(ap, format);
    format_text(err, status, format, ap);
    va_end(ap);
    if (err != NULL) {
        size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(number));
    }
    return status;
}

enum kl_status kl_fail_memory(struct kl_error *err, const char *what, unsigned long long bytes)
{
    return kl_fail(err, KL_ERR_MEMORY, "out of memory: %llu bytes for %s could not be allocated",
                   bytes, what);
}

void kl_error_prefix(struct kl_error *err, const char *format, ...)
{
    if (err == NULL)
        return;
    char rest[sizeof err->text];
    memcpy(rest, err->text, sizeof rest);

    va_list ap;
    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", rest);
    kl_foreign_clean(err->text);
}

const char *kl_status_name(enum kl_status status)
{
    switch (status) {
    case KL_OK:
        return "ok";
    case KL_ERR_INVALID:
        return "invalid";
    case KL_ERR_FORMAT:
        return "format";
    case KL_ERR_UNSUPPORTED:
        return "unsupported";
    case KL_ERR_NOT_FOUND:
        return "not_found";
    case KL_ERR_IO:
        return "io";
    case KL_ERR_MEMORY:
        return "memory";
    case KL_ERR_LIMIT:
        return "limit";
    case KL_ERR_BUSY:
        return "busy";
    case KL_ERR_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}
