#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json/json_limits.h"

static enum kl_status check(const char *text, size_t depth, size_t nodes)
{
    /* exact size on the heap, so that a sanitizer detects a read past the end */
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    struct kl_error err;
    assert_non_null(copy);
    memcpy(copy, text, len);
    enum kl_status status = kl_json_check_limits(copy, len, depth, nodes, &err);
    free(copy);
    return status;
}

static void test_depth(void **state)
{
    (void)state;
    assert_int_equal(check("[[[1]]]", 3, 100), KL_OK);
    assert_int_equal(check("[[[1]]]", 2, 100), KL_ERR_LIMIT);
    assert_int_equal(check("{\"a\":{\"b\":[]}}", 3, 100), KL_OK);
    assert_int_equal(check("{\"a\":{\"b\":[]}}", 2, 100), KL_ERR_LIMIT);
    assert_int_equal(check("[[],[],[[]]]", 3, 100), KL_OK);
    /* superfluous closing brackets do not permit more depth */
    assert_int_equal(check("]]]][[[", 2, 100), KL_ERR_LIMIT);
}

static void test_nodes(void **state)
{
    (void)state;
    assert_int_equal(check("[1,2,3,4]", 9, 4), KL_OK);
    assert_int_equal(check("[1,2,3,4]", 9, 3), KL_ERR_LIMIT);
    assert_int_equal(check("{\"a\":1,\"b\":2}", 9, 4), KL_OK);
    assert_int_equal(check("{\"a\":1,\"b\":2}", 9, 3), KL_ERR_LIMIT);
    assert_int_equal(check("", 0, 0), KL_OK);
}

static void expect_apart(const char *text, size_t nodes, size_t numbers)
{
    size_t len = strlen(text);
    char *copy = malloc(len);
    struct kl_error err;
    assert_non_null(copy);
    memcpy(copy, text, len);
    assert_int_equal(kl_json_check_limits_apart(copy, len, 9, nodes, numbers, &err), KL_OK);
    if (nodes > 0)
        assert_int_equal(kl_json_check_limits_apart(copy, len, 9, nodes - 1, numbers, &err),
                         KL_ERR_LIMIT);
    if (numbers > 1)
        assert_int_equal(kl_json_check_limits_apart(copy, len, 9, nodes, numbers - 1, &err),
                         KL_ERR_LIMIT);
    free(copy);
}

static void test_numbers_apart(void **state)
{
    (void)state;
    expect_apart("[1,2, -3,\n\t 4]", 1, 3);
    expect_apart("[[1,2],[3,4],\"5,6\",true,{\"a\":7}]", 9, 2);
    expect_apart("[1,2,", 2, 1);
    expect_apart("[1,2,  ", 2, 1);
}

static void test_strings_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(check("\"[[[[,,,,::::{{{{\"", 0, 0), KL_OK);
    assert_int_equal(check("\"\\\"[[[\"", 0, 0), KL_OK);
    assert_int_equal(check("\"\\\\\"[", 0, 9), KL_ERR_LIMIT);
    /* incomplete JSON is left to the parser, but nothing is read past the end */
    assert_int_equal(check("\"abc", 0, 0), KL_OK);
    assert_int_equal(check("\"abc\\", 0, 0), KL_OK);
}

static void test_the_byte_is_named(void **state)
{
    (void)state;
    struct kl_error err;
    assert_int_equal(kl_json_check_limits("  [[", 4, 1, 9, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "at byte 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_numbers_apart),
        cmocka_unit_test(test_strings_do_not_count),
        cmocka_unit_test(test_the_byte_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
