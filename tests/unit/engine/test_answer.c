#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bare_request.h"

static void expect_answer(const char *spelled, bool with_end, size_t max_tokens,
                          const char *const *stops, size_t n_stops, enum kl_answer how,
                          const char *shown)
{
    struct kl_request *request = new_request(max_tokens, stops, n_stops);
    int32_t ids[256];
    size_t n = spell(spelled, ids);
    if (with_end)
        ids[n++] = end_token();
    assert_int_equal(accept_all(request, ids, n), how);
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_true(answer.done);
    assert_string_equal(answer.text.data, shown);
    kl_buffer_release(&answer.text);
}

static void test_bytes_become_whole_code_points(void **state)
{
    (void)state;
    expect_answer("你好😀é.", true, 100, NULL, 0, KL_ANSWER_STOPS, "你好😀é.");
    /* cut in the middle of a code point: by the limit, by the end token, by another byte */
    expect_answer("a你", false, 3, NULL, 0, KL_ANSWER_FULL, "a\xEF\xBF\xBD");
    expect_answer("a\xE4\xBD", true, 100, NULL, 0, KL_ANSWER_STOPS, "a\xEF\xBF\xBD");
    expect_answer("a\xE4\xBDz", true, 100, NULL, 0, KL_ANSWER_STOPS, "a\xEF\xBF\xBDz");
}

static void test_stop_strings(void **state)
{
    (void)state;
    const char *stops[] = {"END", "停止"};
    expect_answer("one END two", true, 100, stops, 2, KL_ANSWER_STOPS, "one ");
    expect_answer("一停止二", true, 100, stops, 2, KL_ANSWER_STOPS, "一");
    expect_answer("END", false, 100, stops, 2, KL_ANSWER_STOPS, "");
    /* what was held back is shown when it was none after all */
    expect_answer("one EN", true, 100, stops, 2, KL_ANSWER_STOPS, "one EN");
    expect_answer("one ENd 停了", true, 100, stops, 2, KL_ANSWER_STOPS, "one ENd 停了");
    expect_answer("one EN", false, 6, stops, 2, KL_ANSWER_FULL, "one EN");
    expect_answer("一停\xE6\xAD", true, 100, stops, 2, KL_ANSWER_STOPS, "一停\xEF\xBF\xBD");
    /* the limit and the stop string at once: it stops */
    expect_answer("one END", false, 7, stops, 2, KL_ANSWER_STOPS, "one ");
}

/* "a" again and again: what is read of it, and how it ends. */
static void expect_repetition(size_t max_tokens, const char *stop, bool loop_guard, size_t n,
                              enum kl_answer how, size_t shown)
{
    struct kl_request *request = new_guarded(max_tokens, &stop, stop != NULL, loop_guard);
    int32_t ids[300];
    for (size_t i = 0; i < 300; i++)
        ids[i] = byte_token('a');
    assert_int_equal(accept_all(request, ids, n - 1), KL_ANSWER_CONTINUES);
    assert_int_equal(accept_all(request, ids, 1), how);
    kl_request_finish(request, KL_FINISH_REPETITION, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_int_equal(answer.text.len, shown);
    assert_int_equal(strspn(answer.text.data, "a"), shown);
    kl_buffer_release(&answer.text);
}

static void test_an_answer_that_repeats_itself(void **state)
{
    (void)state;
    expect_repetition(1000, NULL, true, 256, KL_ANSWER_REPEATS, 256);
    expect_repetition(1000, NULL, false, 300, KL_ANSWER_CONTINUES, 300);
    /* what is held back is shown; the limit at the same token says less, a stop string more */
    expect_repetition(1000, "aab", true, 256, KL_ANSWER_REPEATS, 256);
    expect_repetition(256, NULL, true, 256, KL_ANSWER_REPEATS, 256);
    expect_repetition(255, NULL, true, 255, KL_ANSWER_FULL, 255);
    char stop[KL_MAX_STOP_SIZE + 1] = {0};
    memset(stop, 'a', KL_MAX_STOP_SIZE);
    expect_repetition(1000, stop, true, 256, KL_ANSWER_STOPS, 0);
}

static void test_text_comes_with_its_token(void **state)
{
    (void)state;
    const char *stops[] = {"xyz"};
    struct kl_request *request = new_request(100, stops, 1);
    static const char *const spelled = "a好xyb";
    static const char *const shown[] = {"a", "", "", "好", "", "", "xyb"};
    for (size_t i = 0; spelled[i] != '\0'; i++) {
        struct kl_error err;
        assert_int_equal(kl_answer_accept(request, byte_token((unsigned char)spelled[i]), &err),
                         KL_ANSWER_CONTINUES);
        bool sent = kl_request_send_text(request);
        struct kl_event event;
        assert_int_equal(sent, shown[i][0] != '\0');
        assert_int_equal(kl_request_poll(request, &event), sent);
        if (!sent)
            continue;
        assert_int_equal(event.type, KL_EVENT_TEXT);
        assert_int_equal(event.n_tokens, i + 1);
        assert_string_equal(event.text, shown[i]);
        assert_int_equal(event.text_len, strlen(shown[i]));
    }
    kl_request_finish(request, KL_FINISH_CANCELLED, NULL, kl_now_ns());
    kl_request_release(request);
}

static void test_control_tokens_are_not_shown(void **state)
{
    (void)state;
    struct kl_request *request = new_request(100, NULL, 0);
    int32_t control = kl_tokenizer_find(tokenizer, "<|fim_prefix|>", 14);
    int32_t shown = kl_tokenizer_find(tokenizer, "<tool_call>", 11);
    assert_true(control >= 0 && shown >= 0);
    const int32_t ids[] = {byte_token('a'), control, shown, end_token()};
    assert_int_equal(accept_all(request, ids, 4), KL_ANSWER_STOPS);
    assert_int_equal(kl_request_answer_tokens(request), 3); /* the end token does not count */
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_string_equal(answer.text.data, "a<tool_call>");
    assert_int_equal(answer.answer_tokens, 3);
    kl_buffer_release(&answer.text);
}

/* A long token behind much that was held back is more than an event holds. */
static void test_long_text_is_cut_into_events(void **state)
{
    (void)state;
    enum { HELD = KL_MAX_STOP_SIZE - 1, CHARACTERS = 341 };
    char stop[KL_MAX_STOP_SIZE + 1], big[3 * CHARACTERS];
    memset(stop, 'a', KL_MAX_STOP_SIZE);
    stop[KL_MAX_STOP_SIZE] = '\0';
    for (size_t i = 0; i < CHARACTERS; i++)
        memcpy(big + 3 * i, "停", 3);
    const char *stops[] = {stop};
    struct kl_request *request = new_request(1000, stops, 1);
    struct kl_error err;
    int32_t id, a = byte_token('a');
    tiny_check(kl_tokenizer_add(tokenizer, big, sizeof big, false, &id, &err), &err);
    for (int i = 0; i < HELD; i++)
        assert_int_equal(accept_all(request, &a, 1), KL_ANSWER_CONTINUES);
    assert_int_equal(accept_all(request, &id, 1), KL_ANSWER_CONTINUES);

    struct kl_event event; /* whole code points each: 255 + 256 * 3 bytes, then the rest */
    assert_true(kl_request_poll(request, &event));
    assert_int_equal(event.text_len, HELD + 256 * 3);
    assert_true(kl_utf8_valid(event.text, event.text_len));
    assert_true(kl_request_poll(request, &event));
    assert_int_equal(event.text_len, sizeof big - 256 * 3);
    assert_true(kl_utf8_valid(event.text, event.text_len));
    assert_false(kl_request_poll(request, &event));
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    kl_request_release(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_become_whole_code_points),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_an_answer_that_repeats_itself),
        cmocka_unit_test(test_text_comes_with_its_token),
        cmocka_unit_test(test_control_tokens_are_not_shown),
        cmocka_unit_test(test_long_text_is_cut_into_events),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
