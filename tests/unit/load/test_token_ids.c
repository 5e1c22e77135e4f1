#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "load/token_ids.h"

static void test_ids(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_tokens ids = {0};
    assert_int_equal(kl_token_ids_parse("  0 7\t99\r\n 12\n", 100, &ids, &err), KL_OK);
    assert_int_equal(ids.len, 4);
    static const int32_t want[] = {0, 7, 99, 12};
    assert_memory_equal(ids.ids, want, sizeof want);
    assert_int_equal(kl_token_ids_parse("", 100, &ids, &err), KL_OK);
    assert_int_equal(ids.len, 4);
    static const char *const bad[] = {
        "100", "-1", "+1", "1x", "0x1", "1,2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(kl_token_ids_parse(bad[i], 100, &ids, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, bad[i]));
        assert_non_null(strstr(err.text, "below 100"));
    }
    kl_tokens_release(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
