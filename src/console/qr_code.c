#include "console/qr_code.h"

#include <errno.h>
#include <qrencode.h>
#include <string.h>

#include "base/shared_library.h"

enum { QUIET = 4 };

struct library {
    void *handle;
    __typeof__(&QRcode_encodeString8bit) encode;
    __typeof__(&QRcode_free) release;
};

static enum kl_status open_library(struct library *library, struct kl_error *err)
{
    static const char *const files[] = {"libqrencode.so.4"};
    const struct kl_library_function functions[] = {
        {"QRcode_encodeString8bit", &library->encode},
        {"QRcode_free", &library->release},
    };
    library->handle = kl_library_open(files, 1, functions, sizeof functions / sizeof functions[0]);
    if (library->handle == NULL)
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "it is made by libqrencode.so.4, which is not installed: apt install "
                       "libqrencode4");
    return KL_OK;
}

/* Whether the module is light; those around the code are. */
static bool is_light(const QRcode *code, int x, int y)
{
    if (x < 0 || y < 0 || x >= code->width || y >= code->width)
        return true;
    return (code->data[y * code->width + x] & 1) == 0;
}

static void print_code(struct kl_printer *out, const QRcode *code, bool colours)
{
    static const char *const halves[2][2] = {{" ", "▄"}, {"▀", "█"}};
    for (int y = -QUIET; y < code->width + QUIET; y += 2) {
        if (colours)
            kl_print(out, "\033[38;5;231;48;5;16m");
        for (int x = -QUIET; x < code->width + QUIET; x++) {
            /* the width is odd: the last line has no lower half, which is left dark */
            bool lower = y + 1 < code->width + QUIET && is_light(code, x, y + 1);
            kl_print(out, "%s", halves[is_light(code, x, y)][lower]);
        }
        kl_print(out, "%s\n", colours ? "\033[0m" : "");
    }
}

static enum kl_status print(struct kl_printer *out, const struct library *library, const char *text,
                            size_t max_columns, bool colours, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    /* level M restores 15 % of the code: reflections on a screen */
    QRcode *code = library->encode(text, 0, QR_ECLEVEL_M);
    if (code == NULL)
        return errno == ENOMEM
                   ? kl_fail_memory(err, "a QR code", 0)
                   : kl_fail(err, KL_ERR_LIMIT, "the address is too long for one: %zu bytes",
                             strlen(text));
    size_t columns = (size_t)(code->width + 2 * QUIET);
    if (max_columns != 0 && columns > max_columns)
        status = kl_fail(err, KL_ERR_LIMIT,
                         "it needs %zu columns, and the terminal has %zu; make it wider", columns,
                         max_columns);
    else
        print_code(out, code, colours);
    library->release(code);
    return status;
}

enum kl_status kl_qr_code_print(struct kl_printer *out, const char *text, size_t max_columns,
                                bool colours, struct kl_error *err)
{
    struct library library = {0};
    enum kl_status status = open_library(&library, err);
    if (status == KL_OK)
        status = print(out, &library, text, max_columns, colours, err);
    kl_library_close(library.handle);
    return status;
}
