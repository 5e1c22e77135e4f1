/* src/engine: several engines on one thread: the bits of each, whose turn it is, coming and going.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/engine_thread.h"
#include "questions.h"

/* The build for TSan, whose result depends on the threads and not on how much they compute. */
#ifdef __SANITIZE_THREAD__
#define LONG 100
#else
#define LONG ENDLESS
#endif

static struct kl_engine_thread *thread;

static int open_thread(void **state)
{
    struct kl_error err;
    (void)state;
    tiny_check(kl_engine_thread_open(2, &thread, &err), &err);
    return 0;
}

static int close_thread(void **state)
{
    (void)state;
    kl_engine_thread_close(thread);
    return 0;
}

/* With more threads than the pool has, and less work in a pass than others. */
static struct kl_engine *open_on_thread(size_t prefill_chunk)
{
    struct kl_engine_options options = usual;
    options.thread = thread;
    options.n_threads = 8;
    options.prefill_chunk = prefill_chunk;
    return open_engine(options);
}

static void expect_answer(struct answer *answer, const struct question *q)
{
    struct answer alone = ask_alone(q);
    expect_same(answer, &alone);
    assert_true(answer->token_hash == alone.token_hash);
    kl_buffer_release(&alone.text);
    kl_buffer_release(&answer->text);
}

static void wait_until_running(struct kl_engine *engine)
{
    struct kl_engine_stats stats = {0};
    while (stats.running == 0) {
        kl_engine_stats(engine, &stats);
        usleep(1000);
    }
}

/* Requests of two engines that run at the same time: each answer is the one of an engine alone. */
static void test_same_bits_in_company(void **state)
{
    (void)state;
    struct kl_engine *engines[2] = {open_on_thread(32), open_on_thread(8)};
    static struct question questions[2][3];
    struct kl_request *requests[2][3];
    for (size_t i = 0; i < 3; i++) {
        for (size_t e = 0; e < 2; e++) {
            make_question(&questions[e][i], 90 + 40 * i, LONG / 40, 10 * e + i);
            questions[e][i].options.logprobs = true;
            questions[e][i].options.top_logprobs = 3;
            requests[e][i] = submit(engines[e], &questions[e][i]);
        }
    }
    for (size_t e = 0; e < 2; e++) {
        struct answer answers[3];
        for (size_t i = 0; i < 3; i++)
            answer_init(&answers[i]);
        answers_wait(engines[e], requests[e], answers, 3, NULL);
        for (size_t i = 0; i < 3; i++) {
            kl_request_release(requests[e][i]);
            expect_answer(&answers[i], &questions[e][i]);
        }
    }
    kl_engine_close(engines[0]);
    kl_engine_close(engines[1]);
}

/* Background work of one engine lets an interactive request of another one pass. */
static void test_levels_of_all_engines(void **state)
{
    (void)state;
    struct kl_engine *first = open_on_thread(32), *second = open_on_thread(32);
    struct question background, quick;
    struct answer answer;
    make_long_question(&background, 40, LONG);
    background.options.priority = KL_PRIORITY_BACKGROUND;
    make_question(&quick, 60, 30, 3);
    struct kl_request *request = submit(first, &background);
    wait_until_running(first);
    for (size_t i = 0; i < 3; i++) {
        struct answer of_quick = ask(second, &quick);
        expect_answer(&of_quick, &quick);
    }
    answer_init(&answer);
    answers_wait(first, &request, &answer, 1, NULL);
    kl_request_release(request);
    expect_answer(&answer, &background);
    kl_engine_close(first);
    kl_engine_close(second);
}

static double expected_wait(struct kl_engine *engine, enum kl_priority priority)
{
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    return stats.expected_wait[priority];
}

/* The wait that an engine expects counts what others have to do before, and with it. */
static void test_waits_for_other_engines(void **state)
{
    (void)state;
    struct kl_engine *first = open_on_thread(32), *second = open_on_thread(32);
    struct question known, endless[2];
    struct kl_request *requests[2];
    make_question(&known, 60, 30, 3);
    struct answer answer = ask(first, &known); /* its speeds are measured */
    kl_buffer_release(&answer.text);
    answer = ask(second, &known);
    kl_buffer_release(&answer.text);
    assert_true(expected_wait(second, KL_PRIORITY_BACKGROUND) == 0);
    for (size_t i = 0; i < 2; i++) {
        make_long_question(&endless[i], 40, LONG);
        requests[i] = submit(first, &endless[i]);
    }
    wait_until_running(first);
    while (expected_wait(second, KL_PRIORITY_BACKGROUND) == 0)
        usleep(1000);
    /* an interactive one starts at once, in turns with them */
    assert_true(expected_wait(second, KL_PRIORITY_INTERACTIVE) == 0);
    for (size_t i = 0; i < 2; i++) {
        kl_request_cancel(requests[i]);
        kl_request_release(requests[i]);
    }
    while (expected_wait(second, KL_PRIORITY_BACKGROUND) > 0)
        usleep(1000);
    kl_engine_close(first);
    kl_engine_close(second);
}

/* An engine comes and goes while another one computes; the requests of the one that goes end. */
static void test_coming_and_going(void **state)
{
    (void)state;
    struct kl_engine *stays = open_on_thread(32);
    struct question endless, other;
    struct answer answer;
    make_long_question(&endless, 40, LONG);
    make_long_question(&other, 50, LONG);
    struct kl_request *request = submit(stays, &endless), *cancelled;
    wait_until_running(stays);
    for (size_t i = 0; i < 3; i++) {
        struct kl_engine *comes = open_on_thread(16);
        cancelled = submit(comes, &other);
        if (i > 0)
            wait_until_running(comes);
        kl_engine_close(comes);
        struct kl_event event = {0};
        while (kl_request_poll(cancelled, &event))
            continue;
        assert_int_equal(event.type, KL_EVENT_DONE);
        assert_int_equal(event.finish, KL_FINISH_CANCELLED);
        kl_request_release(cancelled);
    }
    answer_init(&answer);
    answers_wait(stays, &request, &answer, 1, NULL);
    kl_request_release(request);
    expect_answer(&answer, &endless);
    kl_engine_close(stays);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_bits_in_company, open_thread, close_thread),
        cmocka_unit_test_setup_teardown(test_levels_of_all_engines, open_thread, close_thread),
        cmocka_unit_test_setup_teardown(test_waits_for_other_engines, open_thread, close_thread),
        cmocka_unit_test_setup_teardown(test_coming_and_going, open_thread, close_thread),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
