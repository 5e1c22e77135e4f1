/*
 * Without memory: every allocation of an engine's life fails once, and nothing is
 * allocated for a token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/request_events.h"
#include "failing_memory.h"
#include "tiny_model.h"

static struct tiny tiny;

static int setup(void **state)
{
    (void)state;
    tiny_open(&tiny);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tiny_close(&tiny);
    return 0;
}

static const struct kl_engine_options usual = {
    .ctx_size = 2048, .parallel = 2, .queue_size = 2, .prefill_chunk = 32, .n_threads = 2};

static int32_t prompt[100];

static struct kl_request_options question(size_t n_prompt, size_t max_tokens, uint64_t seed)
{
    random_tokens(prompt, n_prompt, seed);
    return (struct kl_request_options){
        .tokens = prompt,
        .n_tokens = n_prompt,
        .max_tokens = max_tokens,
        .sampling = {.temperature = 0.9f,
                     .top_p = 0.9f,
                     .top_k = 50,
                     .repetition_penalty = 1.1f,
                     .seed = seed},
    };
}

static void wait_until_idle(struct kl_engine *engine, struct kl_engine_stats *stats)
{
    uint64_t start = kl_now_ns();
    do {
        usleep(200);
        kl_engine_stats(engine, stats);
        assert_true(kl_seconds_since(start) < PATIENCE_MS / 1e3);
    } while (stats->running + stats->queued > 0);
}

#define SUBMIT_ALLOCATIONS 3 /* the request, its text, its ring */

enum outcome { NOT_OPENED, NOT_SUBMITTED, ENDED_WITH_ERROR, ANSWERED };

/* Opens an engine and runs a request. Failures must be KL_ERR_MEMORY. *reached: whether there were
 * that many allocations. */
static enum outcome live(long failing_allocation, bool *reached)
{
    struct kl_request_options options = question(70, 40, 3);
    struct kl_engine *engine;
    struct kl_request *request;
    struct kl_error err = {0};
    *reached = true;
    fail_at(failing_allocation, false);
    if (kl_engine_open(tiny.model, tiny.tokenizer, &usual, &engine, &err) != KL_OK) {
        fail_no_more();
        assert_int_equal(err.status, KL_ERR_MEMORY);
        assert_null(engine);
        return NOT_OPENED;
    }
    enum outcome outcome = NOT_SUBMITTED;
    enum kl_status status = kl_engine_submit(engine, &options, &request, &err);
    if (status == KL_OK) {
        struct kl_engine_stats stats;
        wait_until_idle(engine, &stats);
        *reached = fail_no_more() > failing_allocation;
        struct answer answer;
        answer_init(&answer);
        answers_wait(engine, &request, &answer, 1, NULL);
        outcome = answer.finish == KL_FINISH_ERROR ? ENDED_WITH_ERROR : ANSWERED;
        assert_int_equal(stats.requests_ended[KL_FINISH_ERROR], outcome == ENDED_WITH_ERROR);
        assert_int_equal(stats.kv_used_tokens, 0);
        if (outcome == ENDED_WITH_ERROR)
            assert_non_null(strstr(answer.why, "out of memory"));
        kl_request_release(request);
        kl_buffer_release(&answer.text);
    } else {
        fail_no_more();
        assert_int_equal(err.status, KL_ERR_MEMORY);
        assert_null(request);
    }
    kl_engine_close(engine);
    return outcome;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    int seen[4] = {0};
    bool reached = true;
    for (long n = 0; reached; n++) {
        enum outcome outcome = live(n, &reached);
        seen[outcome]++;
        assert_int_equal(outcome == ANSWERED, !reached);
    }
    assert_true(seen[NOT_OPENED] >= 8);
    assert_int_equal(seen[NOT_SUBMITTED], SUBMIT_ALLOCATIONS);
    assert_true(seen[ENDED_WITH_ERROR] >= 6); /* the sequence, its page table, its 4 pages */
}

/* More text than a ring holds, so it pauses until it is polled. */
#define ENDLESS 1500

static struct kl_request *start_endless(struct kl_engine *engine)
{
    struct kl_request_options options = question(10, ENDLESS, 1);
    options.sampling.ignore_eos = true;
    struct kl_request *request;
    struct kl_error err;
    tiny_check(kl_engine_submit(engine, &options, &request, &err), &err);
    return request;
}

/* No memory for a request while another runs: at its start, for its page table, for a page. */
static void test_others_go_on(void **state)
{
    (void)state;
    struct kl_engine *engine;
    struct kl_error err;
    tiny_check(kl_engine_open(tiny.model, tiny.tokenizer, &usual, &engine, &err), &err);
    struct kl_request *runs = start_endless(engine), *poor;
    struct answer answer, failed;
    struct kl_engine_stats now;
    while (kl_request_has_room(runs)) /* then it is paused, and takes no memory */
        usleep(200);
    kl_engine_stats(engine, &now);
    assert_int_equal(now.running, 1);

    for (long first = SUBMIT_ALLOCATIONS; first < SUBMIT_ALLOCATIONS + 3; first++) {
        struct kl_request_options options = question(20, 5, 2);
        fail_at(first, true);
        tiny_check(kl_engine_submit(engine, &options, &poor, &err), &err);
        do {
            usleep(200);
            kl_engine_stats(engine, &now);
        } while (now.running + now.queued > 1);
        assert_true(fail_no_more() > first);
        answer_init(&failed);
        answers_wait(engine, &poor, &failed, 1, NULL);
        assert_int_equal(failed.finish, KL_FINISH_ERROR);
        assert_non_null(strstr(failed.why, "out of memory"));
        kl_request_release(poor);
        kl_buffer_release(&failed.text);
    }
    answer_init(&answer);
    answers_wait(engine, &runs, &answer, 1, NULL);
    assert_true(answer.finish == KL_FINISH_LENGTH || answer.finish == KL_FINISH_STOP);
    assert_true(answer.answer_tokens > now.answer_tokens);
    kl_engine_stats(engine, &now);
    assert_int_equal(now.requests_ended[KL_FINISH_ERROR], 3);
    kl_request_release(runs);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static struct kl_event next_event(struct kl_request *request)
{
    struct kl_event event;
    while (!kl_request_poll(request, &event))
        usleep(100);
    return event;
}

/* Only the KV cache grows while answers are made. */
static void test_nothing_is_allocated_for_a_token(void **state)
{
    (void)state;
    struct kl_engine *engine;
    struct kl_error err;
    tiny_check(kl_engine_open(tiny.model, tiny.tokenizer, &usual, &engine, &err), &err);
    atomic_store(&n_allocations, 0);
    struct kl_request *request = start_endless(engine);
    struct kl_event event;
    do {
        event = next_event(request);
    } while (event.type != KL_EVENT_DONE);
    long n = atomic_load(&n_allocations);
    assert_true(event.answer_tokens > 500);
    /* the request and its sequence, its pages, and its two page tables a few times */
    assert_in_range(n, SUBMIT_ALLOCATIONS, event.answer_tokens / KL_KV_PAGE_TOKENS + 24);
    kl_request_release(request);
    kl_engine_close(engine);
}

/* Nor for a request that finds the queue full: a flood of them costs nothing. */
static void test_nothing_is_allocated_for_a_full_queue(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.parallel = 1;
    options.queue_size = 0;
    struct kl_engine *engine;
    struct kl_request *request;
    struct kl_error err;
    tiny_check(kl_engine_open(tiny.model, tiny.tokenizer, &options, &engine, &err), &err);
    struct kl_request *runs = start_endless(engine);
    struct kl_engine_stats stats;
    while (kl_request_has_room(runs)) /* then the engine sleeps */
        usleep(200);
    struct kl_request_options another = question(100, 1000, 2);
    atomic_store(&n_allocations, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(kl_engine_submit(engine, &another, &request, &err), KL_ERR_BUSY);
    assert_int_equal(atomic_load(&n_allocations), 0);
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.requests_refused, 100);

    /* a request that could not be created leaves its room in the queue */
    kl_request_release(runs);
    wait_until_idle(engine, &stats);
    fail_at(0, true);
    assert_int_equal(kl_engine_submit(engine, &another, &request, &err), KL_ERR_MEMORY);
    fail_no_more();
    another.n_tokens = 0;
    assert_int_equal(kl_engine_submit(engine, &another, &request, &err), KL_ERR_INVALID);
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.queued, 0);
    kl_request_release(start_endless(engine));
    kl_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_others_go_on),
        cmocka_unit_test(test_nothing_is_allocated_for_a_token),
        cmocka_unit_test(test_nothing_is_allocated_for_a_full_queue),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
