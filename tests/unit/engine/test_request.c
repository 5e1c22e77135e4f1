#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/request.h"
#include "tiny_model.h"

static struct kl_gguf *gguf;
static struct kl_tokenizer *tokenizer;
static struct kl_wakeup wakeup = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                  .called = PTHREAD_COND_INITIALIZER};

static int setup(void **state)
{
    (void)state;
    struct kl_error err;
    tiny_check(kl_gguf_open(tiny_path(), &gguf, &err), &err);
    tiny_check(kl_tokenizer_open(gguf, &tokenizer, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kl_tokenizer_close(tokenizer);
    kl_gguf_close(gguf);
    return 0;
}

static struct kl_request *new_guarded(size_t max_tokens, const char *const *stops, size_t n_stops,
                                      bool loop_guard)
{
    static const int32_t prompt[] = {1, 2, 3};
    struct kl_request_options options = {
        .tokens = prompt,
        .n_tokens = 3,
        .max_tokens = max_tokens,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
        .stops = stops,
        .n_stops = n_stops,
        .loop_guard = loop_guard,
    };
    struct kl_request *request;
    struct kl_error err;
    tiny_check(kl_request_new(&options, 100000, kl_tokenizer_size(tokenizer), tokenizer, &wakeup,
                              &request, &err),
               &err);
    return request;
}

static struct kl_request *new_request(size_t max_tokens, const char *const *stops, size_t n_stops)
{
    return new_guarded(max_tokens, stops, n_stops, false);
}

/* The engine's part: takes tokens in until the answer ends or they do. */
static enum kl_answer accept_all(struct kl_request *request, const int32_t *ids, size_t n)
{
    enum kl_answer answer = KL_ANSWER_GOES_ON;
    for (size_t i = 0; i < n && answer == KL_ANSWER_GOES_ON; i++) {
        bool sent;
        struct kl_error err = {0};
        answer = kl_request_accept(request, ids[i], &sent, &err);
        assert_string_equal(err.text, "");
    }
    return answer;
}

/* The client's part, at the end of both. */
static void read_answer(struct kl_request *request, struct answer *answer)
{
    answer_init(answer);
    struct kl_event event;
    while (kl_request_poll(request, &event))
        answer_add(answer, &event);
    kl_request_release(request);
}

static int32_t byte_token(unsigned char byte)
{
    char c = (char)byte;
    int32_t id = kl_tokenizer_find(tokenizer, &c, 1);
    assert_true(id >= 0);
    return id;
}

static int32_t end_token(void)
{
    int32_t id = kl_tokenizer_find(tokenizer, "<|im_end|>", 10);
    assert_true(id >= 0 && kl_tokenizer_is_end(tokenizer, id));
    return id;
}

/* A token for every byte of text. */
static size_t spell(const char *text, int32_t *ids)
{
    size_t n = 0;
    for (; text[n] != '\0'; n++)
        ids[n] = byte_token((unsigned char)text[n]);
    return n;
}

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
    assert_int_equal(accept_all(request, ids, n - 1), KL_ANSWER_GOES_ON);
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
    expect_repetition(1000, NULL, false, 300, KL_ANSWER_GOES_ON, 300);
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
        bool sent;
        struct kl_error err;
        assert_int_equal(
            kl_request_accept(request, byte_token((unsigned char)spelled[i]), &sent, &err),
            KL_ANSWER_GOES_ON);
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
        assert_int_equal(accept_all(request, &a, 1), KL_ANSWER_GOES_ON);
    assert_int_equal(accept_all(request, &id, 1), KL_ANSWER_GOES_ON);

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

/* Whatever a step says after kl_request_has_room said yes, and the end after it, fits. */
static void test_full_ring_says_so_and_calls_when_there_is_room(void **state)
{
    (void)state;
    struct kl_request *request = new_request(90000, NULL, 0);
    int32_t a = byte_token('a');
    size_t n = 0;
    while (kl_request_has_room(request)) {
        assert_true(n < 10000);
        assert_int_equal(accept_all(request, &a, 1), KL_ANSWER_GOES_ON);
        n++;
    }
    assert_true(n > 500);
    assert_true(atomic_load(&request->waits));
    assert_false(kl_request_send_queued(request, 7, 0.0, 0)); /* not at the price of the end */

    atomic_store(&wakeup.wanted, false);
    struct kl_event event;
    assert_true(kl_request_poll(request, &event));
    assert_true(atomic_load(&wakeup.wanted)); /* the engine is called */
    assert_false(atomic_load(&request->waits));
    atomic_store(&wakeup.wanted, false);
    assert_true(kl_request_poll(request, &event));
    assert_false(atomic_load(&wakeup.wanted)); /* once */

    struct kl_error why = {.status = KL_ERR_MEMORY};
    memset(why.text, 'w', sizeof why.text - 1);
    kl_request_finish(request, KL_FINISH_ERROR, &why, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_true(answer.done);
    assert_string_equal(answer.why, why.text);
    assert_int_equal(answer.status, KL_ERR_MEMORY);
    assert_int_equal(answer.text.len, n - 2);
    kl_buffer_release(&answer.text);
}

static void test_position_is_told_when_it_changes(void **state)
{
    (void)state;
    struct kl_request *request = new_request(10, NULL, 0);
    assert_true(kl_request_send_queued(request, 3, 1.5, 1000000000));
    assert_false(kl_request_send_queued(request, 3, 1.0, 1499999999));
    assert_true(kl_request_send_queued(request, 3, 0.5, 1500000000)); /* half a second later */
    assert_true(kl_request_send_queued(request, 2, 0.25, 1500000001));
    kl_request_finish(request, KL_FINISH_CANCELLED, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_int_equal(answer.n_queued, 3);
    assert_int_equal(answer.last_position, 2);
    assert_int_equal(answer.finish, KL_FINISH_CANCELLED);
    kl_buffer_release(&answer.text);
}

static bool must_end(const struct kl_request *request)
{
    enum kl_finish how;
    return kl_request_must_end(request, 0, &how);
}

static void test_deadline(void **state)
{
    (void)state;
    struct kl_request *request = new_request(10, NULL, 0);
    enum kl_finish how;
    request->deadline_ns = 5;
    assert_false(kl_request_must_end(request, 4, &how));
    assert_true(kl_request_must_end(request, 5, &how));
    assert_int_equal(how, KL_FINISH_DEADLINE);
    kl_request_cancel(request); /* what the client wants comes first */
    assert_true(kl_request_must_end(request, 5, &how));
    assert_int_equal(how, KL_FINISH_CANCELLED);
    request->n_computed = 7;
    kl_request_finish(request, how, NULL, kl_now_ns());
    struct kl_event event;
    assert_true(kl_request_poll(request, &event));
    assert_int_equal(event.wasted_tokens, 7);
    kl_request_release(request);
}

static void test_either_side_may_leave_first(void **state)
{
    (void)state;
    struct kl_request *request = new_request(10, NULL, 0);
    kl_request_release(request); /* the client */
    assert_true(must_end(request));
    kl_request_finish(request, KL_FINISH_CANCELLED, NULL, kl_now_ns());

    request = new_request(10, NULL, 0);
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    kl_request_cancel(request); /* too late: nothing happens */
    assert_false(must_end(request));
    kl_request_release(request);
    kl_request_release(NULL);
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
        cmocka_unit_test(test_full_ring_says_so_and_calls_when_there_is_room),
        cmocka_unit_test(test_position_is_told_when_it_changes),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_either_side_may_leave_first),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
