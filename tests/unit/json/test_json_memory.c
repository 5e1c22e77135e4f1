/*
 * src/json/json_memory.c: each allocation of the parser fails, once, and all from it on. The header
 * says what jansson does without the reserve.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../engine/failing_memory.h"
#include "base/buffer.h"
#include "json/json_limits.h"
#include "json/json_memory.h"

static int watch(void **state)
{
    (void)state;
    kl_json_memory_watch();
    return 0;
}

/* Texts longer than any initial buffer, many members, depth, numbers. */
static void make_text(struct kl_buffer *text)
{
    char words[700];
    memset(words, 'w', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    kl_buffer_init(text, 1 << 20);
    assert_int_equal(kl_buffer_append_string(text, "{\"empty\":{},\"list\":["), KL_OK);
    for (size_t i = 0; i < 60; i++)
        assert_int_equal(kl_buffer_append_format(
                             text, "%s{\"%s%zu\":[%zu,1.5e3,true,null,\"%.*s\"]}", i > 0 ? "," : "",
                             i % 20 == 0 ? words : "", i, i, (int)(i * 11), words),
                         KL_OK);
    assert_int_equal(kl_buffer_append_string(text, "]"), KL_OK);
    for (size_t i = 0; i < 60; i++)
        assert_int_equal(kl_buffer_append_format(text, ",\"member %zu\":[[[]]]", i), KL_OK);
    assert_int_equal(kl_buffer_append_string(text, "}"), KL_OK);
}

static void sweep(bool from_there_on)
{
    struct kl_buffer text;
    make_text(&text);
    json_t *expected = kl_json_load(text.data, text.len, 0, NULL);
    assert_non_null(expected);
    assert_false(kl_json_was_short());
    bool reached = true;
    long number = 0;
    for (; reached; number++) {
        json_error_t error;
        fail_at(number, from_there_on);
        json_t *root = kl_json_load(text.data, text.len, 0, &error);
        reached = fail_no_more() > number;
        assert_true((root == NULL) == reached);
        assert_true(kl_json_was_short() == reached);
        assert_false(kl_json_was_short()); /* once */
        assert_true(reached || json_equal(root, expected));
        json_decref(root);
    }
    assert_true(number > 500);
    json_decref(expected);
    kl_buffer_release(&text);
}

static void one_allocation_fails(void **state)
{
    (void)state;
    sweep(false);
}

static void all_fail_from_there_on(void **state)
{
    (void)state;
    sweep(true);
}

/* The most values of all kinds: the reserve serves them all, so the parser finds no error. */
static void most_values_fit(void **state)
{
    (void)state;
    struct kl_buffer text;
    json_error_t error;
    kl_buffer_init(&text, 1 << 20);
    assert_int_equal(kl_buffer_append_string(&text, "[0"), KL_OK);
    for (size_t i = 0; i < KL_JSON_MAX_NODES / 2; i++)
        assert_int_equal(kl_buffer_append_string(&text, ",{}"), KL_OK);
    for (size_t i = 0; i < KL_JSON_MAX_NUMBERS; i++)
        assert_int_equal(kl_buffer_append_string(&text, ",1"), KL_OK);
    assert_int_equal(kl_buffer_append_string(&text, "]"), KL_OK);
    fail_at(1, true);
    assert_null(kl_json_load(text.data, text.len, 0, &error));
    assert_true(fail_no_more() > KL_JSON_MAX_NUMBERS);
    assert_true(kl_json_was_short());
    assert_string_equal(error.text, "");
    kl_buffer_release(&text);
}

static void text_that_is_not_json(void **state)
{
    (void)state;
    json_error_t error;
    assert_null(kl_json_load("{\"a\":", 5, 0, &error));
    assert_true(strlen(error.text) > 0);
    assert_false(kl_json_was_short());
}

static void values_that_are_built(void **state)
{
    (void)state;
    fail_at(3, false);
    json_t *root = json_pack("{s:i, s:s}", "a", 1, "b", "text");
    fail_no_more();
    json_decref(root);
    assert_true(kl_json_was_short());
    root = json_pack("{s:i, s:s}", "a", 1, "b", "text");
    assert_non_null(root);
    assert_false(kl_json_was_short());
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_allocation_fails),  cmocka_unit_test(all_fail_from_there_on),
        cmocka_unit_test(most_values_fit),       cmocka_unit_test(text_that_is_not_json),
        cmocka_unit_test(values_that_are_built),
    };
    return cmocka_run_group_tests(tests, watch, NULL);
}
