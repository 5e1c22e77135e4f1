#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/fields.h"
#include "json/json_numbers.h"

static json_t *object(const char *text)
{
    json_t *result;
    struct kl_api_error error;
    assert_int_equal(kl_parse_object(text, strlen(text), &result, &error), KL_OK);
    return result;
}

/* Whether field "x" of {"x": text} is refused, by its name. */
static void assert_refused(enum kl_status status, const struct kl_api_error *error)
{
    assert_int_equal(status, KL_ERR_INVALID);
    assert_int_equal(error->status, 400);
    assert_string_equal(error->param, "x");
    assert_int_equal(strncmp(error->text, "x must ", 7), 0);
}

static void test_int(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t value; /* -77: refused */
    } cases[] = {
        {"{\"x\":5}", 5},
        {"{\"x\":-3}", -3},
        {"{\"x\":5.0}", 5},
        {"{\"x\":100}", 100},
        {"{}", 42},
        {"{\"x\":null}", 42},
        {"{\"x\":101}", -77},
        {"{\"x\":-4}", -77},
        {"{\"x\":5.5}", -77},
        {"{\"x\":\"5\"}", -77},
        {"{\"x\":true}", -77},
        {"{\"x\":[]}", -77},
        {"{\"x\":{}}", -77},
        {"{\"x\":1e308}", -77},
        {"{\"x\":-1e308}", -77},
        {"{\"x\":1e18}", -77},
        {"{\"x\":-0}", 0},
        {"{\"x\":-0.0}", 0},
        {"{\"x\":9223372036854775807}", -77},
        {"{\"x\":9.3e18}", -77},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_api_error error;
        json_t *json = object(cases[i].text);
        int64_t value = 42;
        enum kl_status status = kl_field_int(json, "x", -3, 100, &value, &error);
        if (cases[i].value == -77) {
            assert_refused(status, &error);
            assert_int_equal(value, 42);
        } else {
            assert_int_equal(status, KL_OK);
            assert_int_equal(value, cases[i].value);
        }
        json_decref(json);
    }
}

static void test_number(void **state)
{
    (void)state;
    const struct {
        const char *text;
        double value; /* -77: refused */
    } cases[] = {
        {"{\"x\":0.5}", 0.5},   {"{\"x\":1}", 1},       {"{\"x\":2.0}", 2},
        {"{\"x\":0}", 0},       {"{\"x\":null}", 42},   {"{}", 42},
        {"{\"x\":2.1}", -77},   {"{\"x\":-0.1}", -77},  {"{\"x\":1e308}", -77},
        {"{\"x\":false}", -77}, {"{\"x\":\"1\"}", -77}, {"{\"x\":[1]}", -77},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_api_error error;
        json_t *json = object(cases[i].text);
        double value = 42;
        enum kl_status status = kl_field_number(json, "x", 0, 2, &value, &error);
        if (cases[i].value < 0) {
            assert_refused(status, &error);
            assert_true(value > 41 && value < 43);
        } else {
            assert_int_equal(status, KL_OK);
            assert_memory_equal(&value, &cases[i].value, sizeof value);
        }
        json_decref(json);
    }
}

static void test_bool_and_string(void **state)
{
    (void)state;
    struct kl_api_error error;
    json_t *json = object("{\"t\":true,\"n\":null,\"s\":\"text\",\"x\":1}");
    bool flag = false;
    assert_int_equal(kl_field_bool(json, "t", &flag, &error), KL_OK);
    assert_true(flag);
    assert_int_equal(kl_field_bool(json, "n", &flag, &error), KL_OK);
    assert_true(flag);
    assert_refused(kl_field_bool(json, "x", &flag, &error), &error);

    const char *text = "default";
    assert_int_equal(kl_field_string(json, "n", &text, &error), KL_OK);
    assert_string_equal(text, "default");
    assert_refused(kl_field_string(json, "x", &text, &error), &error);
    assert_int_equal(kl_field_string(json, "s", &text, &error), KL_OK);
    assert_string_equal(text, "text");
    json_decref(json);

    json = object("{\"x\":\"a\\u0000b\"}");
    assert_refused(kl_field_string(json, "x", &text, &error), &error);
    json_decref(json);
}

static void test_containers(void **state)
{
    (void)state;
    struct kl_api_error error;
    json_t *json = object("{\"a\":[1],\"o\":{},\"n\":null,\"x\":true}");
    const json_t *value = NULL;
    assert_int_equal(kl_field_array(json, "n", &value, &error), KL_OK);
    assert_null(value);
    assert_refused(kl_field_array(json, "x", &value, &error), &error);
    assert_int_equal(kl_field_array(json, "a", &value, &error), KL_OK);
    assert_int_equal(json_array_size(value), 1);
    value = NULL;
    assert_refused(kl_field_object(json, "x", &value, &error), &error);
    assert_int_equal(kl_field_object(json, "o", &value, &error), KL_OK);
    assert_non_null(value);
    json_decref(json);
}

static void test_bodies_that_are_no_objects(void **state)
{
    (void)state;
    const char *const texts[] = {"",
                                 "{",
                                 "[]",
                                 "1",
                                 "null",
                                 "\"x\"",
                                 "{}x",
                                 "{\"a\":\"\xff\"}",
                                 "{\"a\":NaN}",
                                 "{\"a\":1e999",
                                 "{\"a\":1e999-}",
                                 "{\"a\":99999999999999999999-}",
                                 "{\"a\":099999999999999999999}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct kl_api_error error;
        json_t *json;
        assert_int_equal(kl_parse_object(texts[i], strlen(texts[i]), &json, &error),
                         KL_ERR_INVALID);
        assert_null(json);
        assert_int_equal(error.status, 400);
        assert_string_equal(error.code, "invalid_json");
    }
}

/* Whatever an error text holds, its JSON is valid UTF-8. */
/* As near as a double comes, and never beyond; what stands in strings stays. */
static void test_numbers_that_no_type_holds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"9223372036854775807", 9223372036854775807.0}, /* an integer as before */
        {"9223372036854775808", 9223372036854775808.0},
        {"-9223372036854775809", -9223372036854775809.0},
        {"18446744073709551615", 18446744073709551615.0},
        {"1e309", 1e308},
        {"9e308", 1e308},
        {"-1.5E+999", -1e308},
        {"100000000000000000000000000000000", 1e32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"s\":\"\\\"%s\", \"x\":[%s],\"n\":7,\"y\":%s}",
                 cases[i].text, cases[i].text, cases[i].text);
        json_t *json = object(text);
        double value = json_number_value(json_object_get(json, "y"));
        assert_true(fabs(value - cases[i].value) <= 1e-15 * fabs(cases[i].value));
        assert_true(json_is_integer(json_object_get(json, "n")));
        assert_string_equal(json_string_value(json_object_get(json, "s")) + 1, cases[i].text);
        json_decref(json);
    }
    /* one that is out of range for every field, also for those that take 64 bits */
    static const char *const wide[] = {"9223372036854775808", "-9223372036854775809", "1e999"};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        char text[64];
        int64_t value = 0;
        struct kl_api_error error;
        snprintf(text, sizeof text, "{\"x\":%s}", wide[i]);
        json_t *json = object(text);
        assert_refused(kl_field_int(json, "x", INT64_MIN, INT64_MAX, &value, &error), &error);
        json_decref(json);
    }
}

/* The work is linear in the text: with a look to the end of it, or of a run of digits, for every
 * number, each of these takes minutes, which Meson's limit for a test notices. */
static void test_many_numbers_beside_such(void **state)
{
    (void)state;
    static const char *const pieces[] = {"0", "1,", "1.", "1e", "-", "\"0\"", "12345,"};
    size_t size = (size_t)1 << 20;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t len = (size_t)snprintf(text, size, "[1e999,"), n = strlen(pieces[i]);
        while (len + n < size) {
            memcpy(text + len, pieces[i], n);
            len += n;
        }
        json_decref(kl_json_read(text, len, NULL));
    }
    free(text);
}

/* The written text, and what jansson reads in it: which writes the same bytes. */
static json_t *written(const struct kl_api_error *error)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_API_ERROR_BYTES);
    assert_int_equal(kl_api_error_write(error, KL_ERRORS_OPENAI, &text), KL_OK);
    json_t *json = kl_json_read(text.data, text.len, NULL);
    char *again = json_dumps(json, JSON_COMPACT);
    assert_string_equal(again, text.data);
    free(again);
    kl_buffer_release(&text);
    return json;
}

static void test_error_json(void **state)
{
    (void)state;
    struct kl_api_error error;
    kl_api_fail(&error, 400, "code",
                "a\xff"
                "b",
                "bad \xe4\xbd\xa0 \xe4\xbd");
    json_t *json = written(&error);
    const json_t *inner = json_object_get(json, "error");
    assert_string_equal(json_string_value(json_object_get(inner, "message")),
                        "bad \xe4\xbd\xa0 \xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(inner, "param")), "a\xef\xbf\xbd"
                                                                            "b");
    assert_string_equal(json_string_value(json_object_get(inner, "type")), "invalid_request_error");
    assert_string_equal(json_string_value(json_object_get(inner, "code")), "code");
    assert_null(json_object_get(inner, "n_ctx"));
    json_decref(json);

    kl_api_fail(&error, 429, NULL, NULL, "busy");
    error.n_ctx = 5;
    json = written(&error);
    inner = json_object_get(json, "error");
    assert_true(json_is_null(json_object_get(inner, "param")));
    assert_true(json_is_null(json_object_get(inner, "code")));
    assert_int_equal(json_integer_value(json_object_get(inner, "n_ctx")), 5);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_bool_and_string),
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_bodies_that_are_no_objects),
        cmocka_unit_test(test_numbers_that_no_type_holds),
        cmocka_unit_test(test_many_numbers_beside_such),
        cmocka_unit_test(test_error_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
