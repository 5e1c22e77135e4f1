#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "console/qr_code.h"

#define TEXT  "http://box:7860/#key=0123456789abcdefghjkmnpqrs" /* version 4: 33 modules */
#define SIDE  33
#define WHOLE (SIDE + 8)

/* Reads a printed code: whether a module is light, of the lines and columns of all. */
static void read_code(const char *text, bool light[WHOLE + 1][WHOLE])
{
    for (int row = 0; row <= WHOLE; row += 2) {
        for (int x = 0; x < WHOLE; x++) {
            static const char *const shown[] = {" ", "▀", "▄", "█"};
            int which = 3;
            while (which > 0 && strncmp(text, shown[which], strlen(shown[which])) != 0)
                which--;
            assert_int_equal(strncmp(text, shown[which], strlen(shown[which])), 0);
            text += strlen(shown[which]);
            light[row][x] = (which & 1) != 0;
            light[row + 1][x] = (which & 2) != 0;
        }
        assert_int_equal(*text++, '\n');
    }
    assert_int_equal(*text, '\0');
}

/* tests/api/test_keys.py reads the code as a phone does; this is its frame. */
static void test_modules(void **state)
{
    (void)state;
    struct kl_printer out;
    struct kl_error err;
    static bool light[WHOLE + 1][WHOLE];
    kl_printer_init(&out, 1 << 16);
    assert_int_equal(kl_qr_code_print(&out, TEXT, 0, false, &err), KL_OK);
    read_code(out.text.data, light);
    for (int i = 0; i < 4; i++) {
        for (int x = 0; x < WHOLE; x++) {
            assert_true(light[i][x] && light[WHOLE - 1 - i][x]);
            assert_true(light[x][i] && light[x][WHOLE - 1 - i]);
        }
    }
    /* the finder patterns: squares of 7, 5 and 3 modules */
    const int corners[][2] = {{4, 4}, {4, WHOLE - 11}, {WHOLE - 11, 4}};
    for (int c = 0; c < 3; c++) {
        for (int y = 0; y < 7; y++) {
            for (int x = 0; x < 7; x++) {
                int edge = x < 6 - x ? x : 6 - x, other = y < 6 - y ? y : 6 - y;
                int ring = edge < other ? edge : other;
                assert_int_equal(light[corners[c][0] + y][corners[c][1] + x], ring == 1);
            }
        }
    }
    kl_printer_release(&out);
}

static void test_colours(void **state)
{
    (void)state;
    struct kl_printer out;
    struct kl_error err;
    kl_printer_init(&out, 1 << 16);
    assert_int_equal(kl_qr_code_print(&out, TEXT, WHOLE, true, &err), KL_OK);
    size_t n = 0;
    for (const char *p = out.text.data; (p = strstr(p, "\033[0m\n\033[38;5;231;48;5;16m")) != NULL;
         p++)
        n++;
    assert_int_equal(n, (WHOLE + 1) / 2 - 1); /* each line begins and ends its colours */
    kl_printer_release(&out);
}

static void test_refused(void **state)
{
    (void)state;
    struct kl_printer out;
    struct kl_error err;
    static char text[4096];
    kl_printer_init(&out, 1 << 16);
    assert_int_equal(kl_qr_code_print(&out, TEXT, WHOLE - 1, true, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "41 columns"));
    memset(text, 'a', sizeof text - 1);
    assert_int_equal(kl_qr_code_print(&out, text, 0, true, &err), KL_ERR_LIMIT);
    assert_int_equal(out.text.len, 0);
    kl_printer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
