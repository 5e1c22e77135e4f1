/* src/service/admission.c */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/admission.h"

/* 2 run and 4 wait, of 2 and 8; someone interactive would wait 10 s, in the background 40 s. */
static struct kl_engine_stats busy(void)
{
    return (struct kl_engine_stats){
        .running = 2, .queued = 4, .parallel = 2, .queue_size = 8, .expected_wait = {10, 40}};
}

static void assert_decided(const struct kl_engine_stats *stats, struct kl_admission_request request,
                           enum kl_verdict verdict, unsigned retry_after)
{
    unsigned found;
    assert_int_equal(kl_admission_decide(stats, &request, &found), verdict);
    assert_int_equal(found, retry_after);
}

static void requests_that_can_begin_in_time_are_admitted(void **state)
{
    (void)state;
    struct kl_engine_stats stats = busy();
    assert_decided(&stats, (struct kl_admission_request){.n_requests = 1}, KL_ADMITTED, 0);
    assert_decided(&stats,
                   (struct kl_admission_request){
                       .n_requests = 4, .deadline_seconds = 10, .max_wait_seconds = 10},
                   KL_ADMITTED, 0);
}

static void a_full_queue_says_when_there_is_room(void **state)
{
    (void)state;
    struct kl_engine_stats stats = busy();
    stats.queued = 8;
    stats.expected_wait[0] = 18;
    /* 9 of them begin in 18 s: one in 2 s */
    assert_decided(&stats, (struct kl_admission_request){.n_requests = 1}, KL_REFUSED_FULL, 2);
    assert_decided(&stats, (struct kl_admission_request){.n_requests = 3}, KL_REFUSED_FULL, 6);
    stats.expected_wait[0] = 0;
    assert_decided(&stats, (struct kl_admission_request){.n_requests = 1}, KL_REFUSED_FULL, 5);
}

static void a_wait_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    const struct kl_engine_stats stats = busy();
    struct kl_admission_request a = {.n_requests = 1, .max_wait_seconds = 9.5};
    assert_decided(&stats, a, KL_REFUSED_WAIT, 1);
    a.max_wait_seconds = 3.5;
    assert_decided(&stats, a, KL_REFUSED_WAIT, 7);
    a = (struct kl_admission_request){
        .n_requests = 1, .priority = KL_PRIORITY_BACKGROUND, .max_wait_seconds = 20};
    assert_decided(&stats, a, KL_REFUSED_WAIT, 20);
    a.priority = KL_PRIORITY_INTERACTIVE;
    assert_decided(&stats, a, KL_ADMITTED, 0);
}

static void a_deadline_that_cannot_be_kept_is_refused(void **state)
{
    (void)state;
    const struct kl_engine_stats stats = busy();
    assert_decided(&stats, (struct kl_admission_request){.n_requests = 1, .deadline_seconds = 8.4},
                   KL_REFUSED_DEADLINE, 2);
}

static void waits_are_rounded_up_and_bounded(void **state)
{
    (void)state;
    assert_int_equal(kl_retry_after(-3), 1);
    assert_int_equal(kl_retry_after(0), 1);
    assert_int_equal(kl_retry_after(1), 1);
    assert_int_equal(kl_retry_after(1.01), 2);
    assert_int_equal(kl_retry_after(119.5), 120);
    assert_int_equal(kl_retry_after(1e300), 120);
    assert_int_equal(kl_retry_after(INFINITY), 120);
    assert_int_equal(kl_retry_after(NAN), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_can_begin_in_time_are_admitted),
        cmocka_unit_test(a_full_queue_says_when_there_is_room),
        cmocka_unit_test(a_wait_beyond_the_limit_is_refused),
        cmocka_unit_test(a_deadline_that_cannot_be_kept_is_refused),
        cmocka_unit_test(waits_are_rounded_up_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
