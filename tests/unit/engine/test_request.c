#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bare_request.h"

/* After kl_request_has_room returned true, all events of a step and the end fit. */
static void test_full_ring_signals_when_it_has_room(void **state)
{
    (void)state;
    struct kl_request *request = new_request(90000, NULL, 0);
    int32_t a = byte_token('a');
    size_t n = 0;
    while (kl_request_has_room(request)) {
        assert_true(n < 10000);
        assert_int_equal(accept_all(request, &a, 1), KL_ANSWER_CONTINUES);
        n++;
    }
    assert_true(n > 500);
    assert_true(atomic_load(&request->waits));
    assert_false(kl_request_send_queued(request, 7, 0.0, 0)); /* room is kept for the end */

    atomic_store(&wakeup.pending, false);
    struct kl_event event;
    assert_true(kl_request_poll(request, &event));
    assert_true(atomic_load(&wakeup.pending)); /* the engine is woken */
    assert_false(atomic_load(&request->waits));
    atomic_store(&wakeup.pending, false);
    assert_true(kl_request_poll(request, &event));
    assert_false(atomic_load(&wakeup.pending)); /* once */

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

static void test_position_is_sent_when_it_changes(void **state)
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
    kl_request_cancel(request); /* cancelling goes before the deadline */
    assert_true(kl_request_must_end(request, 5, &how));
    assert_int_equal(how, KL_FINISH_CANCELLED);
    request->n_computed = 7;
    kl_request_finish(request, how, NULL, kl_now_ns());
    struct kl_event event;
    assert_true(kl_request_poll(request, &event));
    assert_int_equal(event.wasted_tokens, 7);
    kl_request_release(request);
}

static void test_either_owner_may_release_first(void **state)
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
        cmocka_unit_test(test_full_ring_signals_when_it_has_room),
        cmocka_unit_test(test_position_is_sent_when_it_changes),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_either_owner_may_release_first),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
