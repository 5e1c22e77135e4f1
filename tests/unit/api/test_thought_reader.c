/* Thoughts are split off an answer, however its text is cut into pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/thought_reader.h"

struct parts {
    char thoughts[200], text[200];
};

static enum kl_status take(void *context, bool is_thought, const char *text, size_t len)
{
    struct parts *parts = context;
    char *out = is_thought ? parts->thoughts : parts->text;
    assert_true(len > 0);
    assert_true(strlen(out) + len < sizeof parts->text);
    strncat(out, text, len);
    return KL_OK;
}

static void check(bool opened, const char *answer, const char *thoughts, const char *text)
{
    size_t len = strlen(answer);
    for (size_t size = 1; size <= len; size++) {
        struct kl_thought_reader reader;
        struct parts parts = {0};
        kl_thought_reader_init(&reader, opened);
        for (size_t at = 0; at < len; at += size) {
            size_t n = len - at < size ? len - at : size;
            assert_int_equal(kl_thought_reader_feed(&reader, answer + at, n, take, &parts), KL_OK);
        }
        assert_int_equal(kl_thought_reader_end(&reader, take, &parts), KL_OK);
        assert_string_equal(parts.thoughts, thoughts);
        assert_string_equal(parts.text, text);
    }
}

static void test_split(void **state)
{
    (void)state;
    check(false, "<think>\na < b </thin </think>\n\nhi <think>x</think>", "a < b </thin ",
          "hi <think>x</think>");
    check(false, "\n\n<think>x</think>y", "x", "y");
    check(false, "<think>\n\n</think>\n\nz", "", "z");
    check(true, "x <</think>y", "x <", "y");
    check(true, "</think> q", "", "q");
}

static void test_without_marks(void **state)
{
    (void)state;
    check(false, "hello", "", "hello");
    check(false, " <thing>", "", " <thing>");
    check(false, "  \n a", "", "  \n a");
    check(true, "abc", "abc", "");
    check(false, "<think>ab</thi", "ab</thi", "");
    check(false, "                              <think>a", "",
          "                              <think>a");
}

static enum kl_status refuse(void *context, bool is_thought, const char *text, size_t len)
{
    (void)context, (void)is_thought, (void)text, (void)len;
    return KL_ERR_MEMORY;
}

static void test_errors_are_passed_on(void **state)
{
    (void)state;
    struct kl_thought_reader reader;
    kl_thought_reader_init(&reader, false);
    assert_int_equal(kl_thought_reader_feed(&reader, "a", 1, refuse, NULL), KL_ERR_MEMORY);
    kl_thought_reader_init(&reader, false);
    assert_int_equal(kl_thought_reader_feed(&reader, "<", 1, refuse, NULL), KL_OK);
    assert_int_equal(kl_thought_reader_end(&reader, refuse, NULL), KL_ERR_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_without_marks),
        cmocka_unit_test(test_errors_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
