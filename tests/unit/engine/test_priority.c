/* src/engine: the priority of a request changes while it runs or waits, its answer does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "questions.h"

static struct kl_engine *open_one_slot(void)
{
    struct kl_engine_options options = usual;
    options.parallel = 1;
    return open_engine(options);
}

static void wait_until_running(struct kl_engine *engine)
{
    struct kl_engine_stats stats = {0};
    while (stats.running == 0) {
        kl_engine_stats(engine, &stats);
        usleep(1000);
    }
}

/* An answer that nothing polls keeps its slot from requests of its level, and loses it to one of a
 * lower level: this would hang otherwise. */
static void expect_answer(struct kl_engine *engine)
{
    struct question q;
    make_question(&q, 20, 5, 7);
    struct answer answer = ask(engine, &q), alone = ask_alone(&q);
    expect_same(&answer, &alone);
    kl_buffer_release(&answer.text);
    kl_buffer_release(&alone.text);
}

static void test_a_running_request(void **state)
{
    (void)state;
    struct kl_engine *engine = open_one_slot();
    struct question q;
    make_long_question(&q, 40, ENDLESS);
    struct answer alone = ask_alone(&q), answer;
    struct kl_request *request = submit(engine, &q);
    wait_until_running(engine);
    kl_request_set_priority(request, KL_PRIORITY_BACKGROUND);
    expect_answer(engine);
    kl_request_set_priority(request, KL_PRIORITY_BACKGROUND); /* no change */
    expect_answer(engine);
    kl_request_set_priority(request, KL_PRIORITY_INTERACTIVE);
    answer_init(&answer);
    answers_wait(engine, &request, &answer, 1, NULL);
    expect_same(&answer, &alone);
    kl_request_set_priority(request, KL_PRIORITY_BACKGROUND); /* it has ended */
    kl_request_release(request);
    kl_buffer_release(&answer.text);
    kl_buffer_release(&alone.text);
    kl_engine_close(engine);
}

static void test_waiting_requests(void **state)
{
    (void)state;
    struct kl_engine *engine = open_one_slot();
    struct question slow, first, second;
    make_long_question(&slow, 40, ENDLESS);
    make_question(&first, 30, ENDLESS, 3);
    make_question(&second, 30, 5, 4);
    first.options.priority = second.options.priority = KL_PRIORITY_BACKGROUND;
    struct kl_request *holder = submit(engine, &slow);
    wait_until_running(engine);
    struct kl_request *one = submit(engine, &first), *two = submit(engine, &second);
    kl_request_set_priority(two, KL_PRIORITY_INTERACTIVE);
    kl_request_set_priority(one, KL_PRIORITY_INTERACTIVE);
    kl_request_set_priority(one, KL_PRIORITY_BACKGROUND);
    kl_request_release(holder);
    struct answer answer, alone = ask_alone(&second);
    answer_init(&answer);
    answers_wait(engine, &two, &answer, 1, NULL);
    expect_same(&answer, &alone);
    kl_request_release(one);
    kl_request_release(two);
    kl_buffer_release(&answer.text);
    kl_buffer_release(&alone.text);
    kl_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_running_request),
        cmocka_unit_test(test_waiting_requests),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
