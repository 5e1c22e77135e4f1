/* src/base/printer.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/printer.h"

/* Returns the bytes that kl_printer_write writes. The caller frees them. */
static char *written(const struct kl_printer *p, enum kl_status expected, struct kl_error *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    assert_non_null(stream);
    assert_int_equal(kl_printer_write(p, stream, "the report", err), expected);
    assert_int_equal(fclose(stream), 0);
    return text;
}

static void test_text_is_collected_and_written(void **state)
{
    (void)state;
    struct kl_printer p;
    struct kl_error err = {0};
    kl_printer_init(&p, 100);
    kl_print(&p, "%d %s", 7, "birds");
    kl_print_bytes(&p, ", 100 %s", 8); /* no format */
    assert_int_equal(p.status, KL_OK);
    char *text = written(&p, KL_OK, &err);
    assert_string_equal(text, "7 birds, 100 %s");
    free(text);
    kl_printer_release(&p);
}

static void test_an_empty_printer_writes_nothing(void **state)
{
    (void)state;
    struct kl_printer p;
    struct kl_error err = {0};
    kl_printer_init(&p, 100);
    char *text = written(&p, KL_OK, &err);
    assert_string_equal(text, "");
    free(text);
    kl_printer_release(&p);
}

static void test_the_first_failure_stays(void **state)
{
    (void)state;
    struct kl_printer p;
    struct kl_error err = {0};
    kl_printer_init(&p, 4);
    kl_print(&p, "%s", "abc");
    kl_print(&p, "%s", "def"); /* 6 bytes */
    assert_int_equal(p.status, KL_ERR_LIMIT);
    kl_print(&p, "g"); /* would fit, but after a gap */
    kl_print_bytes(&p, "g", 1);
    assert_string_equal(p.text.data, "abc");
    char *text = written(&p, KL_ERR_LIMIT, &err);
    assert_string_equal(text, "");
    assert_string_equal(err.text, "the report does not fit into memory");
    free(text);
    kl_printer_release(&p);
}

static void test_words_are_wrapped(void **state)
{
    (void)state;
    struct kl_printer p;
    kl_printer_init(&p, 100);
    kl_print(&p, "  ");
    kl_print_words(&p, "one two  three unbreakable x", 2, 9);
    kl_print_words(&p, "", 0, 9);
    assert_string_equal(p.text.data, "  one two\n"
                                     "  three\n"
                                     "  unbreakable\n"
                                     "  x\n"
                                     "\n");
    kl_printer_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_collected_and_written),
        cmocka_unit_test(test_an_empty_printer_writes_nothing),
        cmocka_unit_test(test_the_first_failure_stays),
        cmocka_unit_test(test_words_are_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
