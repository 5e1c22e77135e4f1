/* src/base/buffer.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"

static void appends_and_keeps_the_end_nul(void **state)
{
    (void)state;
    struct kl_buffer b;
    kl_buffer_init(&b, 1000);
    assert_int_equal(kl_buffer_append(&b, "ab\0c", 4), KL_OK);
    assert_int_equal(kl_buffer_append_string(&b, "def"), KL_OK);
    assert_int_equal(kl_buffer_append_format(&b, "%d-%s", 42, "x"), KL_OK);
    assert_int_equal(b.len, 11);
    assert_memory_equal(b.data, "ab\0cdef42-x", 12);
    kl_buffer_release(&b);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
}

static void an_empty_append_makes_an_empty_string(void **state)
{
    (void)state;
    struct kl_buffer b;
    kl_buffer_init(&b, 0);
    assert_int_equal(kl_buffer_append(&b, NULL, 0), KL_OK);
    assert_string_equal(b.data, "");
    assert_int_equal(kl_buffer_append(&b, "x", 1), KL_ERR_LIMIT);
    assert_string_equal(b.data, "");
    kl_buffer_release(&b);
}

static void stops_at_the_cap(void **state)
{
    (void)state;
    struct kl_buffer b;
    kl_buffer_init(&b, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(kl_buffer_append(&b, "x", 1), KL_OK);
    assert_int_equal(kl_buffer_append(&b, "y", 1), KL_ERR_LIMIT);
    assert_int_equal(kl_buffer_append_string(&b, "y"), KL_ERR_LIMIT);
    assert_int_equal(kl_buffer_append_format(&b, "%d", 1), KL_ERR_LIMIT);
    assert_int_equal(kl_buffer_append(&b, "y", SIZE_MAX), KL_ERR_LIMIT);
    assert_int_equal(b.len, 100);
    assert_int_equal(b.allocated, 101);
    assert_null(strchr(b.data, 'y'));
    assert_int_equal(strlen(b.data), 100);
    /* consuming makes room again */
    kl_buffer_consume(&b, 1);
    assert_int_equal(kl_buffer_append(&b, "y", 1), KL_OK);
    kl_buffer_release(&b);
}

static void consumes_from_the_front(void **state)
{
    (void)state;
    struct kl_buffer b;
    kl_buffer_init(&b, 100);
    kl_buffer_consume(&b, 0);
    kl_buffer_append_string(&b, "hello world");
    kl_buffer_consume(&b, 6);
    assert_string_equal(b.data, "world");
    kl_buffer_consume(&b, 5);
    assert_string_equal(b.data, "");
    assert_int_equal(b.len, 0);
    kl_buffer_release(&b);
}

static void clear_keeps_the_memory(void **state)
{
    (void)state;
    struct kl_buffer b;
    kl_buffer_init(&b, 100000);
    kl_buffer_clear(&b);
    for (int i = 0; i < 5000; i++)
        kl_buffer_append_format(&b, "%d,", i);
    size_t allocated = b.allocated;
    kl_buffer_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    assert_int_equal(b.allocated, allocated);
    kl_buffer_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_keeps_the_end_nul),
        cmocka_unit_test(an_empty_append_makes_an_empty_string),
        cmocka_unit_test(stops_at_the_cap),
        cmocka_unit_test(consumes_from_the_front),
        cmocka_unit_test(clear_keeps_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
