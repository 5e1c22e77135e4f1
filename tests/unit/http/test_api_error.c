/* src/http/api_error.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/api_error.h"

static void assert_shape(const struct kl_api_error *error, enum kl_error_shape shape,
                         const char *json)
{
    struct kl_buffer out;
    kl_buffer_init(&out, KL_API_ERROR_BYTES);
    assert_int_equal(kl_api_error_write(error, shape, &out), KL_OK);
    assert_string_equal(out.data, json);
    kl_buffer_release(&out);
}

static void assert_written(const struct kl_api_error *error, const char *json)
{
    assert_shape(error, KL_ERRORS_OPENAI, json);
}

static void all_fields_are_written(void **state)
{
    (void)state;
    struct kl_api_error error;
    kl_api_fail(&error, 404, "not_found", "model", "no \"%s\"", "x\\y");
    assert_written(&error, "{\"error\":{\"message\":\"no \\\"x\\\\y\\\"\",\"type\":"
                           "\"not_found_error\",\"param\":\"model\",\"code\":\"not_found\"}}");
    kl_api_fail(&error, 400, NULL, NULL, "long");
    error.n_prompt_tokens = 1234567;
    error.n_ctx = 4096;
    assert_written(&error,
                   "{\"error\":{\"message\":\"long\",\"type\":\"exceed_context_size_error\","
                   "\"param\":null,\"code\":null,\"n_prompt_tokens\":1234567,"
                   "\"n_ctx\":4096}}");
}

static void each_shape_has_its_fields(void **state)
{
    (void)state;
    struct kl_api_error error;
    kl_api_fail(&error, 429, "queue_full", "model", "a \"full\" queue");
    assert_shape(&error, KL_ERRORS_OLLAMA, "{\"error\":\"a \\\"full\\\" queue\"}");
    assert_shape(&error, KL_ERRORS_MESSAGES,
                 "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\","
                 "\"message\":\"a \\\"full\\\" queue\"}}");
    kl_api_fail(&error, 503, "loading", NULL, "later");
    assert_shape(&error, KL_ERRORS_MESSAGES,
                 "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                 "\"message\":\"later\"}}");
}

/* The bytes are those that jansson wrote before: clients may compare them. */
static void texts_are_escaped_as_by_jansson(void **state)
{
    (void)state;
    const struct {
        const char *text, *json;
    } cases[] = {
        {"\b\f\n\r\t", "\\b\\f\\n\\r\\t"},
        {"\x01\x1b\x1f", "\\u0001\\u001B\\u001F"},
        {"/\x7f", "/\x7f"},
        {"\xe4\xbd\xa0 \xe2\x80\xae \xc2\x85 \xf0\x9f\x98\x80",
         "\xe4\xbd\xa0 \xe2\x80\xae \xc2\x85 \xf0\x9f\x98\x80"},
        {"a\xff", "a\xef\xbf\xbd"},
        {"cut \xe4\xbd", "cut \xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_api_error error;
        char json[256];
        kl_api_fail(&error, 500, NULL, NULL, "%s", cases[i].text);
        strcpy(json, "{\"error\":{\"message\":\"");
        strcat(json, cases[i].json);
        strcat(json, "\",\"type\":\"server_error\",\"param\":null,\"code\":null}}");
        assert_written(&error, json);
    }
}

static void the_longest_text_fits(void **state)
{
    (void)state;
    struct kl_api_error error;
    struct kl_buffer out;
    char text[600];
    memset(text, '\x01', sizeof text);
    text[sizeof text - 1] = '\0';
    kl_api_fail(&error, 500, "code", text, "%s", text);
    kl_buffer_init(&out, KL_API_ERROR_BYTES);
    assert_int_equal(kl_api_error_write(&error, KL_ERRORS_OPENAI, &out), KL_OK);
    kl_buffer_release(&out);
    kl_buffer_init(&out, 20);
    assert_int_equal(kl_api_error_write(&error, KL_ERRORS_OPENAI, &out), KL_ERR_LIMIT);
    kl_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fields_are_written),
        cmocka_unit_test(each_shape_has_its_fields),
        cmocka_unit_test(texts_are_escaped_as_by_jansson),
        cmocka_unit_test(the_longest_text_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
