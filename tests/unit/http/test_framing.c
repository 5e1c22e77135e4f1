#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/framing.h"

static void test_data(void **state)
{
    (void)state;
    struct kl_buffer out;
    kl_buffer_init(&out, 100);
    assert_int_equal(kl_sse_data(&out, "{\"text\":\"你好\"}"), KL_OK);
    assert_int_equal(kl_sse_data(&out, "[DONE]"), KL_OK);
    assert_string_equal(out.data, "data: {\"text\":\"你好\"}\n\ndata: [DONE]\n\n");
    kl_buffer_clear(&out);
    assert_int_equal(kl_sse_event(&out, "ping", "{}"), KL_OK);
    assert_string_equal(out.data, "event: ping\ndata: {}\n\n");
    kl_buffer_release(&out);
}

/* One newline and no blank line: an empty event ends the stream in some clients. */
static void test_comment(void **state)
{
    (void)state;
    struct kl_buffer out;
    kl_buffer_init(&out, 100);
    assert_int_equal(kl_sse_comment(&out, "queue 2"), KL_OK);
    assert_string_equal(out.data, ": queue 2\n");
    assert_int_equal(kl_sse_comment(&out, "a\nb\r\n\nc"), KL_OK);
    assert_string_equal(out.data, ": queue 2\n: a b   c\n");
    assert_int_equal(kl_sse_data(&out, "1"), KL_OK);
    assert_string_equal(out.data, ": queue 2\n: a b   c\ndata: 1\n\n");
    kl_buffer_release(&out);
}

static void test_cap(void **state)
{
    (void)state;
    struct kl_buffer out;
    kl_buffer_init(&out, 10);
    assert_int_equal(kl_sse_data(&out, "123"), KL_ERR_LIMIT);
    assert_int_equal(kl_sse_comment(&out, "12345678"), KL_ERR_LIMIT);
    assert_int_equal(out.len, 0);
    assert_int_equal(kl_sse_comment(&out, "1234567"), KL_OK);
    kl_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_comment),
        cmocka_unit_test(test_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
