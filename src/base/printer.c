#include "base/printer.h"

#include <stdarg.h>
#include <string.h>

void kl_printer_init(struct kl_printer *p, size_t cap)
{
    *p = (struct kl_printer){.status = KL_OK};
    kl_buffer_init(&p->text, cap);
}

void kl_printer_release(struct kl_printer *p)
{
    kl_buffer_release(&p->text);
}

void kl_print(struct kl_printer *p, const char *format, ...)
{
    va_list arguments;
    if (p->status != KL_OK)
        return;
    va_start(arguments, format);
    p->status = kl_buffer_append_arguments(&p->text, format, arguments);
    va_end(arguments);
}

void kl_print_bytes(struct kl_printer *p, const void *data, size_t len)
{
    if (p->status == KL_OK)
        p->status = kl_buffer_append(&p->text, data, len);
}

void kl_print_words(struct kl_printer *p, const char *text, size_t indent, size_t width)
{
    size_t column = indent;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > indent && column + 1 + len > width) {
            kl_print(p, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            kl_print(p, " ");
            column++;
        }
        kl_print_bytes(p, text, len);
        column += len;
        text += len + strspn(text + len, " ");
    }
    kl_print(p, "\n");
}

enum kl_status kl_printer_write(const struct kl_printer *p, FILE *stream, const char *what,
                                struct kl_error *err)
{
    if (p->status != KL_OK)
        return kl_fail(err, p->status, "%s does not fit into memory", what);
    if (p->text.len > 0)
        fwrite(p->text.data, 1, p->text.len, stream);
    return KL_OK;
}
