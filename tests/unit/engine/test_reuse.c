/*
 * Reuse of computed pages: the prefix cache in the engine, background requests that are preempted
 * and go on, precomputed prompts. Answers are always those of an engine without a cache.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "questions.h"

#define PAGE KL_KV_PAGE_TOKENS

static struct kl_engine_options with_cache(size_t pages)
{
    struct kl_engine_options options = usual;
    options.cache_bytes = pages * PAGE * kl_kv_bytes_per_token(tiny.model);
    return options;
}

static struct kl_engine_stats stats_of(struct kl_engine *engine)
{
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    return stats;
}

/* Asks, compares with the answer of an engine without a cache, and checks how much was reused. */
static void expect_reuse(struct kl_engine *engine, const struct question *q, size_t cached)
{
    struct answer alone = ask_alone(q), answer = ask(engine, q);
    expect_same(&answer, &alone);
    assert_int_equal(answer.cached_tokens, cached);
    assert_int_equal(answer.prefilled, q->options.n_tokens);
    kl_buffer_release(&alone.text);
    kl_buffer_release(&answer.text);
}

/* ---- the prefix cache ------------------------------------------------------------------------ */

static void test_same_prompt_again(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 31, 32, 33, 64, 65, 200};
    struct kl_engine *engine = open_engine(with_cache(100));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct question q;
        make_question(&q, lengths[i], 40, 10 + i);
        q.options.sampling.temperature = i % 2 == 0 ? 0.0f : 0.9f;
        expect_reuse(engine, &q, 0);
        uint64_t before = stats_of(engine).prompt_tokens;
        expect_reuse(engine, &q, lengths[i] - 1); /* the last one has to be computed */
        assert_int_equal(stats_of(engine).prompt_tokens - before, 1);
    }
    kl_engine_close(engine);
}

static void test_longer_and_other_prompts(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(100));
    struct question q;
    make_question(&q, 100, 20, 1);
    expect_reuse(engine, &q, 0);
    for (size_t at = 10; at < 100; at += 30) { /* diverges there */
        struct question other;
        make_question(&other, 150, 30, at);
        memcpy(other.prompt, q.prompt, at * sizeof *q.prompt);
        other.prompt[at] = (q.prompt[at] + 1) % TINY_ORDINARY;
        other.options.tokens = other.prompt;
        expect_reuse(engine, &other, at);
    }
    struct kl_engine_stats stats = stats_of(engine);
    assert_int_equal(stats.cache_hit_tokens, 10 + 40 + 70);
    assert_int_equal(stats.cache_hit_tokens + stats.cache_miss_tokens, 100 + 3 * 150);
    assert_int_equal(stats.kv_used_tokens, stats.cache_pages * PAGE);
    assert_true(stats.cache_bytes > 0);
    kl_engine_close(engine);
}

/* For the second turn of a conversation, whose prompt contains the first answer. */
static void test_answers_are_kept(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(100));
    struct question q;
    make_long_question(&q, 50, 40);
    struct answer answer = ask(engine, &q);
    /* all tokens of the answer but its last one were computed */
    struct kl_engine_stats stats = stats_of(engine);
    assert_int_equal(stats.cache_pages, (50 + answer.answer_tokens - 1 + PAGE - 1) / PAGE);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static void test_scopes(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(100));
    struct question q;
    make_question(&q, 100, 10, 1);
    q.options.cache_scope = 5;
    expect_reuse(engine, &q, 0);
    q.options.cache_scope = 6;
    expect_reuse(engine, &q, 0);
    q.options.cache_scope = 5;
    expect_reuse(engine, &q, 99);
    kl_engine_close(engine);
}

static bool has_half(struct answer *a)
{
    return a->prefilled >= 500;
}

static void test_abandoned_prompt_is_kept(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(100));
    static struct question q;
    make_question(&q, 1000, 10, 1);
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, &q);
    answers_wait(engine, &request, &answer, 1, has_half);
    kl_request_cancel(request);
    answers_wait(engine, &request, &answer, 1, NULL);
    kl_request_release(request);
    kl_buffer_release(&answer.text);
    uint64_t computed = stats_of(engine).prompt_tokens;
    assert_true(computed >= 500);
    if (answer.finish == KL_FINISH_CANCELLED) /* it may have ended before */
        assert_int_equal(stats_of(engine).wasted_tokens, answer.wasted_tokens);
    struct answer again = ask(engine, &q), alone = ask_alone(&q);
    assert_true(again.cached_tokens >= 500);
    assert_int_equal(again.cached_tokens, computed < 1000 ? computed : 999);
    expect_same(&again, &alone);
    kl_buffer_release(&again.text);
    kl_buffer_release(&alone.text);
    kl_engine_close(engine);
}

/* Many prompts that begin alike, together and one after another, with little room: the same answers
 * as alone, and the limits hold. */
static void test_in_company_and_with_little_room(void **state)
{
    (void)state;
    enum { N = 6 };
    /* sanitizer builds are slow: the second round already finds the pages of the first */
    const size_t n_rounds = getenv("KINGLET_TEST_BRIEF") != NULL ? 2 : 6;
    print_message("%zu rounds\n", n_rounds);
    static const size_t rooms[] = {0, 3, 12, 100};
    static struct question q[N];
    struct answer alone[N];
    for (size_t i = 0; i < N; i++)
        make_question(&q[i], 40 + 50 * i, 50, 70 + i);
    for (size_t i = 0; i < N; i++) {
        memcpy(q[i].prompt, q[N - 1 - i % 2].prompt, (20 + 30 * i) * sizeof *q[i].prompt);
        q[i].options.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
        q[i].options.priority = i == 2 ? KL_PRIORITY_BACKGROUND : KL_PRIORITY_INTERACTIVE;
    }
    for (size_t i = 0; i < N; i++)
        alone[i] = ask_alone(&q[i]);
    for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++) {
        struct kl_engine_options options = with_cache(rooms[r]);
        struct kl_plan plan = plan_for(options, options.ctx_size + 20 * PAGE);
        options.plan = &plan;
        options.prefill_chunk = 20 + 13 * r;
        struct kl_engine *engine = open_engine(options);
        for (size_t round = 0; round < n_rounds; round++) {
            struct answer answers[N];
            struct kl_request *requests[N];
            for (size_t i = 0; i < N; i++) {
                answer_init(&answers[i]);
                requests[i] = submit(engine, &q[i]);
            }
            answers_wait(engine, requests, answers, N, NULL);
            for (size_t i = 0; i < N; i++) {
                expect_same(&answers[i], &alone[i]);
                kl_request_release(requests[i]);
                kl_buffer_release(&answers[i].text);
            }
        }
        struct kl_engine_stats stats = stats_of(engine);
        assert_true(stats.cache_pages <= rooms[r] && stats.cache_max_pages == rooms[r]);
        assert_int_equal(stats.cache_hit_tokens > 0, rooms[r] > 0);
        assert_int_equal(stats.kv_used_tokens, stats.cache_pages * PAGE);
        kl_engine_close(engine);
    }
    for (size_t i = 0; i < N; i++)
        kl_buffer_release(&alone[i].text);
}

/* Several answers to one prompt, at the same time: it is computed once, except for partial pages.
 */
static void test_one_prompt_for_many(void **state)
{
    (void)state;
    enum { N = 3 };
    struct kl_engine *engine = open_engine(with_cache(100));
    static struct question q[N];
    struct answer alone[N], answers[N];
    struct kl_request *requests[N];
    for (size_t i = 0; i < N; i++) {
        make_question(&q[i], 1000, 20, 8);
        q[i].options.sampling.temperature = 0.9f;
        q[i].options.sampling.seed = i;
        alone[i] = ask_alone(&q[i]);
        answer_init(&answers[i]);
    }
    for (size_t i = 0; i < N; i++)
        requests[i] = submit(engine, &q[i]);
    answers_wait(engine, requests, answers, N, NULL);
    assert_true(stats_of(engine).prompt_tokens <= 1000 + (N - 1) * PAGE);
    for (size_t i = 0; i < N; i++) {
        expect_same(&answers[i], &alone[i]);
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
        kl_buffer_release(&alone[i].text);
    }
    kl_engine_close(engine);
}

/* ---- background ------------------------------------------------------------------------------ */

static bool has_text(struct answer *a)
{
    return a->n_text > 0;
}

/* It has the only slot, is preempted, and goes on after the other request. */
static void test_background_is_preempted_and_goes_on(void **state)
{
    (void)state;
    static const size_t rooms[] = {0, 40};
    for (size_t r = 0; r < 2; r++) {
        struct kl_engine_options options = with_cache(rooms[r]);
        options.parallel = 1;
        struct kl_engine *engine = open_engine(options);
        struct question slow, quick;
        make_long_question(&slow, 100, ENDLESS);
        slow.options.priority = KL_PRIORITY_BACKGROUND;
        make_question(&quick, 60, 10, 5);
        struct answer alone[2] = {ask_alone(&slow), ask_alone(&quick)}, answers[2];
        answer_init(&answers[0]);
        answer_init(&answers[1]);
        struct kl_request *requests[2] = {submit(engine, &slow)};
        answers_wait(engine, requests, answers, 1, has_text);
        requests[1] = submit(engine, &quick);
        answers_wait(engine, requests + 1, answers + 1, 1, NULL);
        struct kl_event event;
        while (kl_request_poll(requests[0], &event))
            answer_add(&answers[0], &event);
        assert_false(answers[0].done);
        answers_wait(engine, requests, answers, 1, NULL);
        for (size_t i = 0; i < 2; i++) {
            expect_same(&answers[i], &alone[i]);
            kl_request_release(requests[i]);
            kl_buffer_release(&answers[i].text);
            kl_buffer_release(&alone[i].text);
        }
        kl_engine_close(engine);
    }
}

/* Even with slots for all, it makes no progress while an interactive request runs. */
static void test_background_waits_for_interactive(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct question first, second;
    make_question(&first, 100, 100, 4);
    first.options.priority = KL_PRIORITY_BACKGROUND;
    make_question(&second, 200, 100, 5);
    struct answer answers[2];
    answer_init(&answers[0]);
    answer_init(&answers[1]);
    struct kl_request *requests[2] = {submit(engine, &second), NULL};
    requests[1] = submit(engine, &first);
    answers_wait(engine, requests + 1, answers + 1, 1, has_text);
    struct kl_event event;
    while (kl_request_poll(requests[0], &event))
        answer_add(&answers[0], &event);
    assert_true(answers[0].done);
    answers_wait(engine, requests + 1, answers + 1, 1, NULL);
    for (size_t i = 0; i < 2; i++) {
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
    }
    kl_engine_close(engine);
}

/* An interactive request that is paused because its client does not read does not stop it. */
static void test_background_goes_on_while_interactive_is_paused(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(40));
    struct question unread, background;
    make_long_question(&unread, 20, ENDLESS);
    make_question(&background, 300, 30, 5);
    background.options.priority = KL_PRIORITY_BACKGROUND;
    struct answer alone[2] = {ask_alone(&unread), ask_alone(&background)}, answers[2];
    answer_init(&answers[0]);
    answer_init(&answers[1]);
    struct kl_request *requests[2] = {submit(engine, &unread), submit(engine, &background)};
    answers_wait(engine, requests + 1, answers + 1, 1, NULL);
    answers_wait(engine, requests, answers, 1, NULL);
    for (size_t i = 0; i < 2; i++) {
        expect_same(&answers[i], &alone[i]);
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
        kl_buffer_release(&alone[i].text);
    }
    kl_engine_close(engine);
}

/* ---- precompute ------------------------------------------------------------------------------ */

static bool is_warm(const struct kl_engine_stats *s)
{
    return s->cache_pages == 3 && s->kv_used_tokens == 3 * PAGE;
}

static void test_precomputed_prompt_takes_one_step(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(40));
    struct question q, other;
    struct kl_error err;
    make_question(&q, 45, 20, 6);
    make_question(&other, 10, 20, 7);
    tiny_check(kl_engine_precompute(engine, q.prompt, 45, &err), &err);
    tiny_check(kl_engine_precompute(engine, other.prompt, 10, &err), &err);
    struct kl_engine_stats stats = stats_when(engine, is_warm);
    assert_int_equal(stats.running + stats.queued, 0); /* it does not count as a request */
    assert_int_equal(stats.prompt_tokens, 0);
    assert_int_equal(stats.precomputed_tokens, 45 + 10);
    for (uint64_t scope = 0; scope < 3; scope++) {
        q.options.cache_scope = other.options.cache_scope = scope;
        uint64_t before = stats_of(engine).prompt_tokens;
        expect_reuse(engine, &q, 44);
        expect_reuse(engine, &other, 9);
        stats = stats_of(engine);
        assert_int_equal(stats.prompt_tokens - before, 2);
    }
    assert_int_equal(stats.requests_ended[KL_FINISH_LENGTH] + stats.requests_ended[KL_FINISH_STOP],
                     6);
    assert_int_equal(kl_engine_precompute(engine, q.prompt, 0, &err), KL_ERR_INVALID);
    random_tokens(q.prompt, usual.ctx_size, 6);
    assert_int_equal(kl_engine_precompute(engine, q.prompt, usual.ctx_size, &err), KL_ERR_LIMIT);
    kl_engine_close(engine);
}

/* Requests go first; precomputing waits for them, or never happens. */
static void test_requests_go_before_precomputing(void **state)
{
    (void)state;
    struct kl_engine_options options = with_cache(200);
    options.parallel = 1;
    struct kl_engine *engine = open_engine(options);
    static struct question ahead, q;
    struct kl_error err;
    for (size_t i = 0; i < 20; i++) {
        make_question(&ahead, 300, 1, 100 + i);
        tiny_check(kl_engine_precompute(engine, ahead.prompt, 300, &err), &err);
    }
    make_question(&q, 30, 20, 1);
    for (size_t i = 0; i < 4; i++) {
        q.options.cache_scope = i;
        expect_reuse(engine, &q, 0);
    }
    kl_engine_close(engine);
}

/* ---- on disk --------------------------------------------------------------------------------- */

/* Another process with the same directory does not compute the pages again. */
static void test_restart(void **state)
{
    (void)state;
    char dir[] = "/tmp/kinglet-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kl_engine_options options = with_cache(100);
    char identity[KL_KV_IDENTITY_SIZE];
    kl_kv_identity(tiny.model, identity);
    const struct kl_page_store_options on_disk = {.dir = dir,
                                                  .identity = identity,
                                                  .identity_size = strlen(identity),
                                                  .page_bytes =
                                                      PAGE * kl_kv_bytes_per_token(tiny.model),
                                                  .max_bytes = 256 << 20};
    static struct question q;
    make_question(&q, 1000, 20, 1);
    for (size_t start = 0; start < 3; start++) {
        struct kl_error err;
        tiny_check(kl_page_store_open(&on_disk, &options.page_store, &err), &err);
        struct kl_engine *engine = open_engine(options);
        struct answer answer = ask(engine, &q), alone = ask_alone(&q);
        expect_same(&answer, &alone);
        /* whole pages of the prompt: that many may wait to be written */
        assert_int_equal(answer.cached_tokens, start > 0 ? 999 / PAGE * PAGE : 0);
        if (start > 0)
            assert_int_equal(stats_of(engine).cache_loaded_pages, answer.cached_tokens / PAGE);
        for (size_t again = 0; again < 3; again++) {
            kl_page_store_flush(options.page_store);
            kl_buffer_release(&answer.text);
            answer = ask(engine, &q);
            assert_int_equal(answer.cached_tokens, 999);
        }
        if (start == 2)
            assert_int_equal(stats_of(engine).cache_loaded_pages, 999 / PAGE);
        kl_buffer_release(&answer.text);
        kl_buffer_release(&alone.text);
        kl_engine_close(engine);
        kl_page_store_close(options.page_store);
    }
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_prompt_again),
        cmocka_unit_test(test_longer_and_other_prompts),
        cmocka_unit_test(test_answers_are_kept),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_abandoned_prompt_is_kept),
        cmocka_unit_test(test_in_company_and_with_little_room),
        cmocka_unit_test(test_one_prompt_for_many),
        cmocka_unit_test(test_background_is_preempted_and_goes_on),
        cmocka_unit_test(test_background_waits_for_interactive),
        cmocka_unit_test(test_background_goes_on_while_interactive_is_paused),
        cmocka_unit_test(test_precomputed_prompt_takes_one_step),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_requests_go_before_precomputing),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
