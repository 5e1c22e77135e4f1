/* src/api/token_columns.c: rows of JSON texts are printed by columns; a row that fails is not there
 * at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/token_columns.h"

static enum kl_status append(struct kl_buffer *table, const char *text, int number)
{
    json_t *row[] = {json_string(text), json_integer(number), json_pack("{s:i}", "n", number)};
    return kl_columns_append(table, row, 3);
}

static void assert_column(const struct kl_buffer *table, size_t column, const char *expected)
{
    struct kl_printer p;
    kl_printer_init(&p, 1000);
    kl_print(&p, "[");
    kl_columns_print(table, 3, column, &p);
    kl_print(&p, "]");
    assert_string_equal(p.text.data, expected);
    kl_printer_release(&p);
}

static void columns_of_rows(void **state)
{
    (void)state;
    struct kl_buffer table;
    kl_buffer_init(&table, 1000);
    assert_column(&table, 0, "[]");
    assert_int_equal(append(&table, "a\"", 1), KL_OK);
    assert_int_equal(append(&table, "", -2), KL_OK);
    assert_column(&table, 0, "[\"a\\\"\",\"\"]");
    assert_column(&table, 1, "[1,-2]");
    assert_column(&table, 2, "[{\"n\":1},{\"n\":-2}]");
    kl_buffer_release(&table);
}

static void a_row_that_fails_leaves_nothing(void **state)
{
    (void)state;
    struct kl_buffer table;
    for (size_t cap = 30; cap < 60; cap++) {
        kl_buffer_init(&table, cap);
        assert_int_equal(append(&table, "a", 1), KL_OK);
        size_t len = table.len;
        enum kl_status status = append(&table, "b", 2);
        assert_true(status == KL_OK || (status == KL_ERR_LIMIT && table.len == len));
        assert_column(&table, 1, status == KL_OK ? "[1,2]" : "[1]");
        kl_buffer_release(&table);
    }
    json_t *row[] = {json_integer(1), NULL, json_integer(2)};
    kl_buffer_init(&table, 1000);
    assert_int_equal(kl_columns_append(&table, row, 3), KL_ERR_MEMORY);
    assert_column(&table, 0, "[]");
    kl_buffer_release(&table);
}

static void objects_are_left_open(void **state)
{
    (void)state;
    struct kl_printer p;
    kl_printer_init(&p, 1000);
    assert_false(kl_print_open_object(&p, json_object()));
    assert_true(kl_print_open_object(&p, json_pack("{s:i}", "a", 1)));
    assert_string_equal(p.text.data, "{{\"a\":1");
    kl_printer_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_of_rows),
        cmocka_unit_test(a_row_that_fails_leaves_nothing),
        cmocka_unit_test(objects_are_left_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
