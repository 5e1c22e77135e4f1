#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/statistics.h"

static void test_empty(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    assert_true(kl_statistics_latency(&s, 95) == 0.0);
    assert_true(kl_speed_value(&s.prefill) == 0.0);
}

static void test_nearest_rank(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    kl_statistics_add_latency(&s, 3.0);
    assert_true(kl_statistics_latency(&s, 1) == 3.0);
    assert_true(kl_statistics_latency(&s, 100) == 3.0);
    for (int i = 0; i < 19; i++)
        kl_statistics_add_latency(&s, i < 18 ? 1.0 : 9.0);
    /* 20 values: 18 times 1, a 3, a 9 */
    assert_true(kl_statistics_latency(&s, 50) == 1.0);
    assert_true(kl_statistics_latency(&s, 90) == 1.0);
    assert_true(kl_statistics_latency(&s, 95) == 3.0);
    assert_true(kl_statistics_latency(&s, 96) == 9.0);
}

static void test_only_the_last_count(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    for (int i = 0; i < 1000; i++)
        kl_statistics_add_latency(&s, (double)i);
    assert_true(kl_statistics_latency(&s, 1) == 1000 - KL_LATENCIES + 2);
    assert_true(kl_statistics_latency(&s, 100) == 999.0);
}

static void test_speeds_follow_the_recent_past(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    kl_statistics_add_step(&s, 64, 3, 0.5);
    assert_true(kl_speed_value(&s.prefill) == 128.0);
    assert_true(kl_speed_value(&s.decode) == 0.0);
    for (int i = 0; i < 1000; i++)
        kl_statistics_add_step(&s, 0, 2, 0.1);
    for (int i = 0; i < 1000; i++)
        kl_statistics_add_step(&s, 0, 4, 0.1);
    assert_true(kl_speed_value(&s.decode) > 39.9 && kl_speed_value(&s.decode) < 40.1);
    assert_true(kl_speed_value(&s.prefill) == 128.0);
}

/* Tokens of drafts come in the time of their pass. */
static void test_accepted_tokens_make_decoding_faster(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    kl_statistics_add_step(&s, 0, 1, 0.5);
    kl_statistics_add_accepted(&s, 3);
    assert_true(kl_speed_value(&s.decode) == 8.0);
    kl_statistics_add_step(&s, 64, 1, 0.5); /* its time counts as prefill */
    kl_statistics_add_accepted(&s, 3);
    assert_true(kl_speed_value(&s.decode) == 8.0);
    assert_true(kl_speed_value(&s.prefill) == 128.0);
}

static void test_cost_of_a_prompt_row(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    kl_statistics_add_step(&s, 0, 4, 1.0); /* no prompt */
    assert_true(s.row_seconds == 0.0);
    kl_statistics_add_step(&s, 64, 3, 0.5);
    assert_true(s.row_seconds == 0.5 / 64);
    kl_statistics_add_step(&s, 3, 1,
                           0.5); /* the end of a prompt: its cost is not that of its rows */
    assert_true(s.row_seconds == 0.5 / 64);
    kl_statistics_add_step(&s, 32, 1, 0.5); /* slower: counts at once */
    assert_true(s.row_seconds == 0.5 / 32);
    kl_statistics_add_step(&s, 64, 1, 0.5); /* faster: gradually */
    assert_true(s.row_seconds == 0.75 * 0.5 / 32);
    for (int i = 0; i < 20; i++)
        kl_statistics_add_step(&s, 64, 1, 0.5);
    assert_true(s.row_seconds > 0.5 / 64 && s.row_seconds < 1.01 * 0.5 / 64);
}

static void test_work(void **state)
{
    (void)state;
    struct kl_statistics s = {0};
    assert_true(kl_statistics_work(&s, 100, 100) == 0.0);
    kl_statistics_add_step(&s, 100, 0, 1.0);
    assert_true(kl_statistics_work(&s, 100, 100) == 0.0);
    kl_statistics_add_step(&s, 0, 20, 1.0);
    assert_true(kl_statistics_work(&s, 300, 40) == 3.0 + 2.0);
    assert_true(kl_statistics_work(&s, 0, 30000) == 256 / 20.0); /* few answers are that long */
    kl_statistics_add_answer(&s, 10);
    assert_true(kl_statistics_work(&s, 0, 40) == 0.5);
    assert_true(kl_statistics_work(&s, 0, 4) == 0.2);
    for (int i = 0; i < 100; i++)
        kl_statistics_add_answer(&s, 20);
    assert_true(s.answer_tokens > 19.9 && s.answer_tokens <= 20.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_tokens_make_decoding_faster),
        cmocka_unit_test(test_cost_of_a_prompt_row),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_nearest_rank),
        cmocka_unit_test(test_only_the_last_count),
        cmocka_unit_test(test_speeds_follow_the_recent_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
