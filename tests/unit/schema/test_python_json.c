#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "schema/python_json.h"

static struct kl_buffer out;
static struct kl_error err;

static int begin(void **state)
{
    (void)state;
    kl_buffer_init(&out, 1 << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
    kl_buffer_release(&out);
    return 0;
}

static enum kl_status convert(const char *text)
{
    size_t at = 0;
    kl_buffer_clear(&out);
    return kl_python_json(text, strlen(text), &at, &out, &err);
}

#define assert_converts(json, expected)                                                            \
    do {                                                                                           \
        assert_int_equal(convert(json), KL_OK);                                                    \
        assert_string_equal(out.data, expected);                                                   \
    } while (0)

#define assert_refused(json, part)                                                                 \
    do {                                                                                           \
        assert_int_equal(convert(json), KL_ERR_INVALID);                                           \
        if (strstr(err.text, part) == NULL)                                                        \
            fail_msg("'%s' is not in: %s", part, err.text);                                        \
    } while (0)

static void test_numbers_are_written_as_python_does(void **state)
{
    (void)state;
    assert_converts("123456789012345678901234567890", "123456789012345678901234567890");
    assert_converts("-0", "0");
    assert_converts("-0.0", "-0.0");
    assert_converts("1e5", "100000.0");
    assert_converts("1e15", "1000000000000000.0");
    assert_converts("1e16", "1e+16");
    assert_converts("0.0001", "0.0001");
    assert_converts("0.00001", "1e-05");
    assert_converts("-1.50E-300", "-1.5e-300");
    assert_converts("0.1000", "0.1");
    assert_converts("5.684341886080802e-14", "5.684341886080802e-14"); /* 2^-44 */
    assert_converts("1e400", "Infinity");
    assert_converts("-1e400", "-Infinity");
    assert_converts("5e-324", "5e-324");
    assert_converts("1e-400", "0.0");
}

static void test_strings_are_escaped_as_python_does(void **state)
{
    (void)state;
    assert_converts("\"\\u00e9\\/\\u0041\\ud83d\\ude00\"", "\"\xC3\xA9/A\xF0\x9F\x98\x80\"");
    assert_converts("\"\\u000a\\u0000\\u001F\\u007f\"", "\"\\n\\u0000\\u001f\x7f\"");
    assert_converts("\"\\u0022\\u005c\\b\\f\"", "\"\\\"\\\\\\b\\f\"");
}

static void test_containers_are_separated_as_python_does(void **state)
{
    (void)state;
    assert_converts(" [ 1,2 ,\n{ \"a\":true } , [ ],{ } ] ", "[1, 2, {\"a\": true}, [], {}]");
}

static void test_the_last_member_of_a_name_takes_the_place_of_the_first(void **state)
{
    (void)state;
    assert_converts("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}");
    assert_converts("{\"b\":[1],\"\\u0062\":{\"x\":1,\"x\":2},\"c\":0,\"b\":{\"y\":{}}}",
                    "{\"b\": {\"y\": {}}, \"c\": 0}");
    assert_converts("[{\"a\":{\"a\":1,\"a\":{\"a\":2,\"a\":3}},\"a\":4}]", "[{\"a\": 4}]");
}

static void test_text_that_is_not_json_is_refused_at_its_byte(void **state)
{
    (void)state;
    assert_refused("", "a value was expected at byte 0");
    assert_refused("[1 2]", "',' or ']' was expected at byte 3");
    assert_refused("{\"a\" 1}", "':' was expected at byte 5");
    assert_refused("{1:2}", "the name of a member was expected at byte 1");
    assert_refused("[1,]", "a value was expected at byte 3");
    assert_refused("-x", "a digit was expected at byte 1");
    assert_refused("\"abc", "the end of a string was expected at byte 4");
    assert_refused("\"a\nb\"", "control character");
    assert_refused("\"\\x\"", "an escape of JSON was expected at byte 1");
    assert_refused("\"\\ud83dx\"", "\\ud83d at byte 1 is half of a surrogate pair");
    assert_refused("\"\\udc00\"", "surrogate");
    assert_refused("\"\xC3\"", "the string at byte 1 is not UTF-8");
}

static void test_limits(void **state)
{
    (void)state;
    char text[2 * KL_PYTHON_JSON_MAX_DEPTH + 8];
    size_t n = KL_PYTHON_JSON_MAX_DEPTH;
    memset(text, '[', n);
    memset(text + n, ']', n);
    text[2 * n] = '\0';
    assert_converts(text, text);
    memset(text, '[', n + 1);
    assert_int_equal(convert(text), KL_ERR_LIMIT);
    struct kl_buffer small;
    kl_buffer_init(&small, 10);
    size_t at = 0;
    assert_int_equal(kl_python_json("[1,2,3,4,5]", 11, &at, &small, &err), KL_ERR_LIMIT);
    kl_buffer_release(&small);
}

static void test_values_follow_each_other(void **state)
{
    (void)state;
    static const char text[] = " 1\n[2]\n \"3\"\n";
    size_t at = 0;
    kl_buffer_clear(&out);
    assert_int_equal(kl_python_json(text, sizeof text - 1, &at, &out, &err), KL_OK);
    assert_int_equal(at, 3);
    assert_int_equal(kl_python_json(text, sizeof text - 1, &at, &out, &err), KL_OK);
    assert_int_equal(at, 8);
    assert_int_equal(kl_python_json(text, sizeof text - 1, &at, &out, &err), KL_OK);
    assert_int_equal(at, sizeof text - 1);
    assert_string_equal(out.data, "1[2]\"3\"");
}

static bool is_span(struct kl_json_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.text, text, span.len) == 0;
}

static void test_parts_of_a_text_are_found(void **state)
{
    (void)state;
    assert_int_equal(
        convert("{\"x\":[1,\"],\\\"\",{}],\"te\\u0073ts\":[{\"data\":{\"data\":-1.5e3}},"
                "[],2],\"valid\":true}"),
        KL_OK);
    const struct kl_json_span all = {out.data, out.len};
    struct kl_json_span span = kl_json_span_first(kl_json_span_member(all, "x"));
    assert_true(is_span(span, "1"));
    span = kl_json_span_next(span);
    assert_true(is_span(span, "\"],\\\"\""));
    span = kl_json_span_next(span);
    assert_true(is_span(span, "{}"));
    assert_null(kl_json_span_first(span).text);
    assert_null(kl_json_span_next(span).text);
    span = kl_json_span_first(kl_json_span_member(all, "tests"));
    span = kl_json_span_member(span, "data");
    assert_true(is_span(span, "{\"data\": -1500.0}"));
    assert_true(is_span(kl_json_span_member(span, "data"), "-1500.0"));
    assert_true(is_span(kl_json_span_member(all, "valid"), "true"));
    assert_null(kl_json_span_member(all, "data").text);
    assert_null(kl_json_span_member(kl_json_span_member(all, "x"), "x").text);
    assert_null(kl_json_span_first(kl_json_span_member(all, "valid")).text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_written_as_python_does),
        cmocka_unit_test(test_strings_are_escaped_as_python_does),
        cmocka_unit_test(test_containers_are_separated_as_python_does),
        cmocka_unit_test(test_the_last_member_of_a_name_takes_the_place_of_the_first),
        cmocka_unit_test(test_text_that_is_not_json_is_refused_at_its_byte),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_values_follow_each_other),
        cmocka_unit_test(test_parts_of_a_text_are_found),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
