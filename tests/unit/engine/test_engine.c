#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "questions.h"

/* The build for TSan, whose result depends on the threads and not on how much they compute. */
#ifdef __SANITIZE_THREAD__
#define THREADS_ONLY true
#else
#define THREADS_ONLY false
#endif

static struct question endless;

static int setup(void **state)
{
    open_tiny(state);
    make_long_question(&endless, 10, ENDLESS);
    return 0;
}

static bool has_text(struct answer *a)
{
    return a->n_text > 0;
}

static bool has_prefill(struct answer *a)
{
    return a->n_prefill > 0;
}

static bool is_queued(struct answer *a)
{
    return a->n_queued > 0;
}

static bool is_next(struct answer *a)
{
    return a->n_queued > 0 && a->last_position == 0;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void test_events_and_statistics(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.parallel, 3);
    assert_int_equal(stats.queue_size, 4);
    assert_int_equal(stats.ctx_size, 4096);
    assert_int_equal(stats.kv_max_tokens, 3 * 4096);
    assert_true(stats.latency_p50 == 0.0 && stats.decode_speed == 0.0);

    struct question q;
    make_long_question(&q, 100, 40);
    struct answer answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_LENGTH);
    assert_int_equal(answer.n_prefill, 4); /* 32 + 32 + 32 + 4 */
    assert_int_equal(answer.prefilled, 100);
    assert_int_equal(answer.prompt_tokens, 100);
    assert_int_equal(answer.answer_tokens, 40);
    assert_true(answer.n_text > 1 && answer.n_text <= 40);
    kl_buffer_release(&answer.text);

    kl_engine_stats(engine, &stats);
    assert_true(nothing_left(&stats));
    assert_int_equal(stats.kv_used_tokens, 0);
    assert_int_equal(finished(&stats), 1);
    assert_int_equal(stats.prompt_tokens, 100);
    assert_int_equal(stats.answer_tokens, 40);
    assert_true(stats.latency_p50 > 0.0 && stats.latency_p95 >= stats.latency_p50);
    assert_true(stats.prefill_speed > 0.0 && stats.decode_speed > 0.0);
    kl_engine_close(engine);
}

static void test_together_as_alone(void **state)
{
    (void)state;
    enum { N = 6 };
    static struct question q[N];
    static const size_t lengths[N] = {5, 300, 33, 1, 150, 64};
    struct answer alone[N], together[N];
    struct kl_request *requests[N];
    for (size_t i = 0; i < N; i++) {
        make_question(&q[i], lengths[i], 60 + 10 * i, 100 + i);
        if (i % 2 == 1) {
            q[i].options.sampling.temperature = 0.8f;
            q[i].options.sampling.top_k = 40;
            q[i].options.sampling.top_p = 0.95f;
            q[i].options.sampling.repetition_penalty = 1.1f;
        }
        if (i == 3) { /* needs all logits, the other requests do not */
            q[i].options.sampling.temperature = 1.5f;
            q[i].options.sampling.top_k = 0;
        }
        alone[i] = ask_alone(&q[i]);
        answer_init(&together[i]);
    }
    /* token by token last: under TSan, which is slow, the threads are the same without */
    static const size_t chunks[] = {7, 64, 1};
    for (size_t c = 0; c < (THREADS_ONLY ? 2 : 3); c++) {
        struct kl_engine_options options = usual;
        options.prefill_chunk = chunks[c];
        struct kl_engine *engine = open_engine(options);
        for (size_t i = 0; i < N; i++)
            requests[i] = submit(engine, &q[i]);
        answers_wait(engine, requests, together, N, NULL);
        for (size_t i = 0; i < N; i++) {
            expect_same(&together[i], &alone[i]);
            kl_request_release(requests[i]);
            kl_buffer_release(&together[i].text);
            answer_init(&together[i]);
        }
        kl_engine_close(engine);
    }
    for (size_t i = 0; i < N; i++) {
        kl_buffer_release(&alone[i].text);
        kl_buffer_release(&together[i].text);
    }
}

static void test_seeds(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct question q;
    make_question(&q, 20, 50, 3);
    q.options.sampling.temperature = 1.0f;
    struct answer first = ask(engine, &q), same = ask(engine, &q);
    q.options.sampling.seed = 4;
    struct answer other = ask(engine, &q);
    expect_same(&first, &same);
    assert_string_not_equal(first.text.data, other.text.data);
    kl_buffer_release(&first.text);
    kl_buffer_release(&same.text);
    kl_buffer_release(&other.text);
    kl_engine_close(engine);
}

static void test_stop_string_ends_the_answer(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct question q;
    make_long_question(&q, 10, 60);
    struct answer whole = ask(engine, &q);
    size_t at = whole.text.len / 2, end = at;
    while (((unsigned char)whole.text.data[at] & 0xC0) == 0x80)
        at++;
    for (end = at + 5; ((unsigned char)whole.text.data[end] & 0xC0) == 0x80;)
        end++;
    char stop[16];
    assert_true(end - at < sizeof stop && end <= whole.text.len);
    memcpy(stop, whole.text.data + at, end - at);
    stop[end - at] = '\0';
    const char *stops[] = {"not in the text", stop};
    q.options.stops = stops;
    q.options.n_stops = 2;
    struct answer cut = ask(engine, &q);
    assert_int_equal(cut.finish, KL_FINISH_STOP);
    assert_int_equal(cut.text.len, strstr(whole.text.data, stop) - whole.text.data);
    assert_memory_equal(cut.text.data, whole.text.data, cut.text.len);
    assert_true(cut.answer_tokens < whole.answer_tokens);
    kl_buffer_release(&whole.text);
    kl_buffer_release(&cut.text);
    kl_engine_close(engine);
}

/* Returns whether the end of a text is a shorter text, repeated at least 7 times. */
static bool repeats_itself(const struct kl_buffer *text)
{
    for (size_t period = 1; period <= text->len / 7; period++) {
        size_t run = period;
        const char *end = text->data + text->len;
        while (run < text->len && end[-(ptrdiff_t)run - 1] == end[(ptrdiff_t)(period - run) - 1])
            run++;
        if (run >= 7 * period && run >= 128)
            return true;
    }
    return false;
}

/* Greedy answers of a random model often end in a loop: the guard ends those, and only those. */
static void test_loop_guard(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    uint64_t n_ended = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        make_question(&q, 20, 1200, seed);
        struct answer whole = ask(engine, &q);
        q.options.loop_guard = true;
        struct answer guarded = ask(engine, &q);
        if (guarded.finish == KL_FINISH_REPETITION) {
            n_ended++;
            assert_true(guarded.answer_tokens >= 256 && guarded.answer_tokens < 1200);
            assert_true(guarded.text.len < whole.text.len);
            assert_memory_equal(guarded.text.data, whole.text.data, guarded.text.len);
            assert_true(repeats_itself(&guarded.text));
        } else {
            expect_same(&guarded, &whole);
        }
        kl_buffer_release(&whole.text);
        kl_buffer_release(&guarded.text);
    }
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_in_range(n_ended, 1, 2);
    assert_int_equal(stats.requests_ended[KL_FINISH_REPETITION], n_ended);
    assert_int_equal(kl_engine_complete(&stats), 6);
    kl_engine_close(engine);
}

static void test_full_context_ends_the_answer(void **state)
{
    (void)state;
    enum { N = 3 };
    struct kl_engine_options options = usual;
    options.ctx_size = 70;
    struct kl_engine *engine = open_engine(options);
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats); /* each of them may use whole pages of 32 */
    assert_int_equal(stats.kv_max_tokens, N * 96);
    struct question q;
    struct answer answers[N];
    struct kl_request *requests[N];
    make_long_question(&q, 40, 30);
    q.options.max_tokens = SIZE_MAX;
    for (size_t i = 0; i < N; i++) {
        answer_init(&answers[i]);
        requests[i] = submit(engine, &q);
    }
    answers_wait(engine, requests, answers, N, NULL);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(answers[i].finish, KL_FINISH_LENGTH);
        assert_int_equal(answers[i].prompt_tokens, 40);
        assert_int_equal(answers[i].answer_tokens, 30);
        kl_buffer_release(&answers[i].text);
        kl_request_release(requests[i]);
    }
    kl_engine_close(engine);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void expect_refused(struct kl_engine *engine, const struct question *q,
                           enum kl_status status, const char *text)
{
    struct kl_request *request = NULL;
    struct kl_error err;
    assert_int_equal(kl_engine_submit(engine, &q->options, &request, &err), status);
    assert_null(request);
    if (strstr(err.text, text) == NULL)
        fail_msg("expected \"%s\", found \"%s\"", text, err.text);
}

static void test_refused_requests(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.ctx_size = 64;
    struct kl_engine *engine = open_engine(options);
    struct question q;
    make_question(&q, 64, 10, 1);
    expect_refused(engine, &q, KL_ERR_LIMIT,
                   "the prompt exceeds the available context size: it has 64 tokens, the context "
                   "holds 64 with the answer; shorten it or raise --ctx-size");
    make_question(&q, 0, 10, 1);
    expect_refused(engine, &q, KL_ERR_INVALID, "the prompt is empty");
    make_question(&q, 3, 10, 1);
    q.prompt[1] = -1;
    expect_refused(engine, &q, KL_ERR_INVALID, "token 2: expected an id from 0 to 660, found -1");
    q.prompt[1] = 661;
    expect_refused(engine, &q, KL_ERR_INVALID, "token 2: expected an id from 0 to 660, found 661");
    make_question(&q, 3, 10, 1);
    q.options.sampling.top_p = 2.0f;
    expect_refused(engine, &q, KL_ERR_INVALID, "top_p: expected");
    make_question(&q, 3, 10, 1);
    q.options.deadline_seconds = -1.0;
    expect_refused(engine, &q, KL_ERR_INVALID, "the deadline: expected 0 to");
    make_question(&q, 3, 10, 1);
    q.options.priority = (enum kl_priority)7;
    expect_refused(engine, &q, KL_ERR_INVALID, "priority: expected 0 or 1, found 7");
    make_question(&q, 3, 10, 1);
    const char *stops[] = {""};
    q.options.stops = stops;
    q.options.n_stops = 1;
    expect_refused(engine, &q, KL_ERR_INVALID, "stop: string 1 is empty");

    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_true(nothing_left(&stats));
    kl_engine_close(engine);
}

static void expect_not_opened(struct kl_engine_options options, const char *text)
{
    struct kl_engine *engine;
    struct kl_error err;
    assert_int_equal(kl_engine_open(tiny.model, tiny.tokenizer, &options, &engine, &err),
                     KL_ERR_INVALID);
    assert_null(engine);
    assert_string_equal(err.text, text);
}

static void test_refused_engine_options(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.ctx_size = 5000;
    expect_not_opened(options, "the context size: expected 2 to 4096, found 5000");
    options = usual;
    options.parallel = 0;
    expect_not_opened(options, "parallel requests: expected 1 to 64, found 0");
    options = usual;
    options.queue_size = 1000000;
    expect_not_opened(options, "the queue's size: expected 0 to 65536, found 1000000");
    options = usual;
    options.prefill_chunk = 0;
    expect_not_opened(options, "the prefill chunk: expected 1 to 4096, found 0");
    options = usual;
    options.n_threads = 0;
    expect_not_opened(options, "threads: expected 1 to 64, found 0");
    kl_engine_close(NULL);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void test_queue_full_and_positions(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.parallel = 1;
    options.queue_size = 2;
    struct kl_engine *engine = open_engine(options);
    struct question q;
    struct kl_request *held = submit(engine, &endless);
    make_question(&q, 5, 5, 1);
    struct kl_request *waiting[2] = {submit(engine, &q), submit(engine, &q)};
    struct answer answers[2];
    answer_init(&answers[0]);
    answer_init(&answers[1]);
    expect_refused(engine, &q, KL_ERR_BUSY,
                   "the queue is full (1 requests may run and 2 wait): try again later");
    answers_wait(engine, waiting, answers, 2, is_queued);

    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.queued, 2);
    assert_int_equal(stats.requests_refused, 1);

    /* the first one ends: the second moves up, and the queue has room */
    kl_request_cancel(waiting[0]);
    answers_wait(engine, waiting, answers, 1, NULL);
    assert_int_equal(answers[0].finish, KL_FINISH_CANCELLED);
    assert_int_equal(answers[0].answer_tokens, 0);
    assert_int_equal(answers[0].n_prefill, 0);
    answers_wait(engine, waiting + 1, answers + 1, 1, is_next);
    struct kl_request *third = submit(engine, &q);
    kl_request_release(third);

    kl_request_release(held);
    answers_wait(engine, waiting + 1, answers + 1, 1, NULL);
    assert_true(answers[1].finish == KL_FINISH_LENGTH || answers[1].finish == KL_FINISH_STOP);
    assert_int_equal(answers[1].prefilled, 5);
    for (size_t i = 0; i < 2; i++) {
        kl_request_release(waiting[i]);
        kl_buffer_release(&answers[i].text);
    }
    stats = stats_when(engine, nothing_left);
    assert_int_equal(stats.requests_ended[KL_FINISH_CANCELLED], 3);
    assert_int_equal(finished(&stats), 1);
    kl_engine_close(engine);
}

static bool has_many_tokens(struct answer *a)
{
    return a->last_n_tokens >= 400;
}

/* Waits are not computed in every step. */
static void test_waits_are_computed_when_something_changes(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.parallel = 1;
    options.draft_max = 0; /* a step for each token */
    struct kl_engine *engine = open_engine(options);
    struct question q;
    make_question(&q, 5, 5, 1);
    struct kl_request *requests[3] = {submit(engine, &endless), submit(engine, &q),
                                      submit(engine, &q)};
    struct answer answers[3];
    for (size_t i = 0; i < 3; i++)
        answer_init(&answers[i]);
    answers_wait(engine, requests + 1, answers + 1, 2, is_queued);
    answers_wait(engine, requests, answers, 1, has_text);
    struct kl_engine_stats before, after;
    uint64_t start = kl_now_ns();
    kl_engine_stats(engine, &before);
    answers_wait(engine, requests, answers, 1, has_many_tokens);
    kl_engine_stats(engine, &after);
    double seconds = kl_seconds_since(start);
    assert_int_equal(after.queued, 2);
    assert_true(after.steps - before.steps > 300);
    /* when the speed became known, and every second */
    assert_true(after.wait_estimates - before.wait_estimates <= 2 + (uint64_t)seconds);
    assert_true(after.expected_wait[KL_PRIORITY_INTERACTIVE] > 0.0);

    uint64_t estimates = after.wait_estimates;
    kl_request_cancel(requests[1]); /* a change is sent at once */
    answers_wait(engine, requests + 1, answers + 1, 1, NULL);
    answers_wait(engine, requests + 2, answers + 2, 1, is_next);
    kl_engine_stats(engine, &after);
    assert_true(after.wait_estimates > estimates);
    for (size_t i = 0; i < 3; i++) {
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
    }
    kl_engine_close(engine);
}

static void test_without_a_queue(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.parallel = 2;
    options.queue_size = 0;
    struct kl_engine *engine = open_engine(options);
    struct question q;
    struct kl_request *held = submit(engine, &endless);
    make_question(&q, 5, 5, 1);
    struct answer answer = ask(engine, &q);
    kl_buffer_release(&answer.text);
    struct kl_request *second = submit(engine, &endless);
    expect_refused(engine, &q, KL_ERR_BUSY, "the queue is full");
    kl_request_release(held);
    kl_request_release(second);
    kl_engine_close(engine);
}

/* ---- cancel ---------------------------------------------------------------------------------- */

static void test_cancel_in_prefill(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.prefill_chunk = 1;
    struct kl_engine *engine = open_engine(options);
    static struct question q;
    make_question(&q, 4000, 5, 1);
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, &q);
    answers_wait(engine, &request, &answer, 1, has_prefill);
    kl_request_cancel(request);
    kl_request_cancel(request);
    answers_wait(engine, &request, &answer, 1, NULL);
    assert_int_equal(answer.finish, KL_FINISH_CANCELLED);
    assert_int_equal(answer.answer_tokens, 0);
    assert_true(answer.prefilled < 4000);
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_true(stats.prompt_tokens < 4000);
    assert_int_equal(stats.kv_used_tokens, 0);
    assert_int_equal(stats.requests_ended[KL_FINISH_CANCELLED], 1);
    kl_request_release(request);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static bool two_run(const struct kl_engine_stats *s)
{
    return s->running == 2;
}

static bool one_runs(const struct kl_engine_stats *s)
{
    return s->running == 1;
}

/* One pass over a whole long prompt is abandoned (prompt_tokens counts completed
 * passes only), and the request that shared it is not affected. */
static void test_cancel_inside_a_pass(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.prefill_chunk = 4000;
    struct kl_engine *engine = open_engine(options);
    static struct question long_one;
    struct question q;
    make_question(&long_one, 4000, 5, 1);
    make_long_question(&q, 50, 300);
    struct answer alone = ask_alone(&q), answers[2];
    answer_init(&answers[0]);
    answer_init(&answers[1]);
    struct kl_request *requests[2] = {submit(engine, &q)};
    answers_wait(engine, requests, answers, 1, has_text);
    requests[1] = submit(engine, &long_one);
    stats_when(engine, two_run);
    usleep(3000); /* into the pass */
    kl_request_cancel(requests[1]);
    answers_wait(engine, requests, answers, 2, NULL);
    assert_int_equal(answers[1].finish, KL_FINISH_CANCELLED);
    assert_int_equal(answers[1].n_prefill, 0);
    expect_same(&answers[0], &alone);
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.prompt_tokens, 50);
    for (size_t i = 0; i < 2; i++) {
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
    }
    kl_buffer_release(&alone.text);
    kl_engine_close(engine);
}

/* Requests that are submitted or cancelled during a long pass get events before it ends. */
static void test_queue_is_updated_inside_a_pass(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.prefill_chunk = 4000;
    options.parallel = 1;
    struct kl_engine *engine = open_engine(options);
    static struct question long_one;
    struct question q;
    make_question(&long_one, 4000, 5, 1);
    make_question(&q, 5, 5, 2);
    struct kl_request *runs = submit(engine, &long_one);
    stats_when(engine, one_runs);
    struct kl_request *waits = submit(engine, &q);
    struct answer answer;
    answer_init(&answer);
    answers_wait(engine, &waits, &answer, 1, is_queued);
    kl_request_cancel(waits);
    answers_wait(engine, &waits, &answer, 1, NULL);
    assert_int_equal(answer.finish, KL_FINISH_CANCELLED);
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.prompt_tokens, 0);
    kl_request_release(waits);
    kl_request_release(runs);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static bool one_more_runs(const struct kl_engine_stats *s)
{
    return s->running == 2 && s->queued == 0;
}

/* Clients that come and go cannot stop others: after a pass was abandoned, the next one is
 * completed before another request starts. */
static void test_pass_is_completed_after_an_abandoned_one(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.prefill_chunk = 4000;
    options.parallel = 2;
    struct kl_engine *engine = open_engine(options);
    static struct question long_one;
    make_question(&long_one, 4000, 90, 1);
    struct answer answer;
    answer_init(&answer);
    struct kl_request *stays = submit(engine, &endless);
    answers_wait(engine, &stays, &answer, 1, has_text);
    struct kl_request *goes = submit(engine, &long_one);
    struct kl_engine_stats before = stats_when(engine, two_run), after;
    struct kl_request *next = submit(engine, &long_one);
    usleep(3000); /* into the pass */
    kl_request_release(goes);
    after = stats_when(engine, one_more_runs);
    assert_int_equal(after.prompt_tokens, 10); /* it was abandoned */
    assert_true(after.answer_tokens > before.answer_tokens);
    kl_request_release(next);
    kl_request_release(stays);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static void test_cancel_in_decode(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, &endless);
    answers_wait(engine, &request, &answer, 1, has_text);
    kl_request_cancel(request);
    answers_wait(engine, &request, &answer, 1, NULL);
    assert_int_equal(answer.finish, KL_FINISH_CANCELLED);
    assert_true(answer.answer_tokens > 0 && answer.answer_tokens < ENDLESS);
    kl_request_release(request);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static void test_release_while_running(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, &endless);
    answers_wait(engine, &request, &answer, 1, has_text);
    kl_request_release(request);
    struct kl_engine_stats stats = stats_when(engine, nothing_left);
    assert_int_equal(stats.requests_ended[KL_FINISH_CANCELLED], 1);
    assert_int_equal(stats.kv_used_tokens, 0);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

/* Clients that come and go at any moment: nothing leaks (checked by the sanitizers), and the other
 * requests get the answers that they would get alone. */
static void test_many_cancels(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.queue_size = 16;
    struct kl_engine *engine = open_engine(options);
    static struct question stayer, q;
    make_long_question(&stayer, 200, 400);
    struct answer alone = ask_alone(&stayer), answer;
    answer_init(&answer);
    struct kl_request *stays = submit(engine, &stayer);
    struct kl_request *others[8] = {0};
    uint64_t x = 1;
    uint64_t accepted = 0;
    size_t rounds = getenv("KINGLET_TEST_BRIEF") != NULL ? 60 : 1000;
    for (size_t i = 0; i < rounds; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        struct kl_request **slot = &others[(x >> 33) % 8];
        struct kl_event event;
        if (*slot != NULL && (x >> 40) % 2 == 0)
            kl_request_cancel(*slot);
        while (*slot != NULL && kl_request_poll(*slot, &event))
            continue;
        kl_request_release(*slot);
        make_question(&q, 1 + (x >> 45) % 200, 1 + (x >> 55) % 100, x);
        struct kl_error err;
        enum kl_status status = kl_engine_submit(engine, &q.options, slot, &err);
        assert_true(status == KL_OK || status == KL_ERR_BUSY);
        accepted += status == KL_OK;
        if ((x >> 50) % 8 == 0)
            usleep((unsigned)(x >> 52) % 2000);
    }
    for (size_t i = 0; i < 8; i++)
        kl_request_release(others[i]);
    answers_wait(engine, &stays, &answer, 1, NULL);
    expect_same(&answer, &alone);
    kl_request_release(stays);
    struct kl_engine_stats stats = stats_when(engine, nothing_left);
    assert_int_equal(finished(&stats) + stats.requests_ended[KL_FINISH_CANCELLED], accepted + 1);
    assert_int_equal(stats.requests_ended[KL_FINISH_ERROR], 0);
    assert_int_equal(stats.requests_refused, rounds - accepted);
    assert_int_equal(stats.kv_used_tokens, 0);
    kl_buffer_release(&alone.text);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

/* ---- deadlines --------------------------------------------------------------------------------
 */

/* In the queue, and while paused because its client does not read: earlier events stay. */
static void test_deadlines(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.parallel = 1;
    struct kl_engine *engine = open_engine(options);
    struct question q = endless;
    q.options.tokens = q.prompt;
    struct kl_request *runs = submit(engine, &endless), *late;
    q.options.deadline_seconds = 0.01;
    struct answer answer;
    answer_init(&answer);
    late = submit(engine, &q);
    answers_wait(engine, &late, &answer, 1, NULL);
    assert_int_equal(answer.finish, KL_FINISH_DEADLINE);
    assert_int_equal(answer.answer_tokens, 0);
    kl_request_release(late);
    kl_buffer_release(&answer.text);
    kl_request_release(runs);
    stats_when(engine, nothing_left);

    q.options.deadline_seconds = 0.3;
    runs = submit(engine, &q);
    struct kl_engine_stats stats = stats_when(engine, nothing_left);
    answer_init(&answer);
    answers_wait(engine, &runs, &answer, 1, NULL);
    assert_int_equal(answer.finish, KL_FINISH_DEADLINE);
    /* the last tokens may be the beginning of a code point, which has no text yet */
    assert_in_range(answer.answer_tokens - answer.last_n_tokens, 0, 3);
    assert_int_equal(stats.requests_ended[KL_FINISH_DEADLINE], 2);
    kl_request_release(runs);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

/* ---- slow readers ---------------------------------------------------------------------------- */

static bool stands_still(const struct kl_engine_stats *s)
{
    return s->paused == 1;
}

static void test_full_ring_pauses_only_its_request(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct question quick;
    struct answer read_at_once = ask(engine, &endless), read_late;
    struct kl_engine_stats before, paused, later;
    kl_engine_stats(engine, &before);

    struct kl_request *request = submit(engine, &endless);
    paused = stats_when(engine, stands_still);
    assert_int_equal(paused.running, 1);
    assert_true(paused.answer_tokens - before.answer_tokens < ENDLESS);

    make_question(&quick, 30, 20, 9);
    struct answer other = ask(engine, &quick);
    kl_engine_stats(engine, &later);
    assert_int_equal(later.answer_tokens - paused.answer_tokens, other.answer_tokens);

    answer_init(&read_late);
    answers_wait(engine, &request, &read_late, 1, NULL);
    expect_same(&read_late, &read_at_once);
    kl_request_release(request);
    kl_buffer_release(&read_at_once.text);
    kl_buffer_release(&read_late.text);
    kl_buffer_release(&other.text);
    kl_engine_close(engine);
}

static void test_cancel_while_paused(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct kl_request *request = submit(engine, &endless);
    stats_when(engine, stands_still);
    kl_request_cancel(request);
    stats_when(engine, nothing_left);
    struct answer answer; /* all text, and the end */
    answer_init(&answer);
    answers_wait(engine, &request, &answer, 1, NULL);
    assert_int_equal(answer.finish, KL_FINISH_CANCELLED);
    assert_true(answer.n_text > 500);
    kl_request_release(request);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void test_close_with_work_left(void **state)
{
    (void)state;
    enum { N = 6 };
    struct kl_engine *engine = open_engine(usual);
    struct kl_request *requests[N];
    for (size_t i = 0; i < N; i++)
        requests[i] = submit(engine, &endless);
    struct answer first;
    answer_init(&first);
    answers_wait(engine, requests, &first, 1, has_text);
    kl_request_release(requests[N - 1]);
    kl_engine_close(engine);
    for (size_t i = 0; i < N - 1; i++) { /* the handles outlive the engine */
        struct answer answer = first;
        struct kl_event event;
        if (i > 0)
            answer_init(&answer);
        while (kl_request_poll(requests[i], &event))
            answer_add(&answer, &event);
        assert_true(answer.done);
        assert_int_equal(answer.finish, KL_FINISH_CANCELLED);
        kl_request_cancel(requests[i]);
        kl_request_release(requests[i]);
        kl_buffer_release(&answer.text);
    }
}

/* Submitted so late that the engine thread has not taken it in. */
static void test_close_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct kl_engine *engine = open_engine(usual);
        struct kl_request *request = submit(engine, &endless);
        kl_engine_close(engine);
        struct kl_event event = {.type = KL_EVENT_QUEUED};
        while (kl_request_poll(request, &event))
            continue;
        assert_int_equal(event.type, KL_EVENT_DONE);
        assert_int_equal(event.finish, KL_FINISH_CANCELLED);
        kl_request_release(request);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_requests_wait_for_memory(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.ctx_size = 512;
    struct kl_plan plan = plan_for(options, 512 + 256);
    options.plan = &plan;
    struct kl_engine *engine = open_engine(options);
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.kv_max_tokens, 512 + 256);

    /* together they could need 512 + 288 tokens; the small one behind them does not overtake */
    struct question long_one, short_one, small_one;
    make_question(&long_one, 300, SIZE_MAX, 1);
    make_question(&short_one, 200, 88, 2);
    make_question(&small_one, 10, 10, 3);
    struct kl_request *requests[] = {submit(engine, &long_one), submit(engine, &short_one),
                                     submit(engine, &small_one)};
    struct answer answers[3];
    for (size_t i = 0; i < 3; i++)
        answer_init(&answers[i]);
    answers_wait(engine, &requests[2], &answers[2], 1, has_prefill);
    /* the first one had sent all its text before the others started */
    struct kl_event event;
    while (kl_request_poll(requests[0], &event))
        answer_add(&answers[0], &event);
    assert_true(answers[0].done);
    answers_wait(engine, requests, answers, 3, NULL);
    for (size_t i = 0; i < 3; i++) {
        assert_true(answers[i].finish == KL_FINISH_STOP || answers[i].finish == KL_FINISH_LENGTH);
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
    }
    kl_engine_close(engine);
}

static void test_budget_too_small(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.ctx_size = 512;
    struct kl_plan plan = plan_for(options, 512 - 1);
    options.plan = &plan;
    struct kl_engine *engine;
    struct kl_error err;
    assert_int_equal(kl_engine_open(tiny.model, tiny.tokenizer, &options, &engine, &err),
                     KL_ERR_MEMORY);
    assert_null(engine);
    assert_non_null(strstr(err.text, "lower --ctx-size to 480"));
    assert_true(kl_plan_total(&plan) > plan.budget);
}

static void test_idle_engine_uses_no_cpu(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    struct question q;
    make_question(&q, 30, 20, 9);
    struct answer answer = ask(engine, &q);
    kl_buffer_release(&answer.text);
    usleep(50000); /* the pool's workers go to sleep */
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(300000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double used =
        (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9;
    assert_true(used < 0.01);
    kl_engine_close(engine);
}

static void test_finish_names(void **state)
{
    (void)state;
    assert_string_equal(kl_finish_name(KL_FINISH_STOP), "stop");
    assert_string_equal(kl_finish_name(KL_FINISH_LENGTH), "length");
    assert_string_equal(kl_finish_name(KL_FINISH_REPETITION), "repetition");
    assert_string_equal(kl_finish_name(KL_FINISH_CANCELLED), "cancelled");
    assert_string_equal(kl_finish_name(KL_FINISH_DEADLINE), "deadline");
    assert_string_equal(kl_finish_name(KL_FINISH_ERROR), "error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_and_statistics),
        cmocka_unit_test(test_together_as_alone),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_stop_string_ends_the_answer),
        cmocka_unit_test(test_loop_guard),
        cmocka_unit_test(test_full_context_ends_the_answer),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_refused_engine_options),
        cmocka_unit_test(test_queue_full_and_positions),
        cmocka_unit_test(test_waits_are_computed_when_something_changes),
        cmocka_unit_test(test_without_a_queue),
        cmocka_unit_test(test_cancel_in_prefill),
        cmocka_unit_test(test_cancel_inside_a_pass),
        cmocka_unit_test(test_queue_is_updated_inside_a_pass),
        cmocka_unit_test(test_pass_is_completed_after_an_abandoned_one),
        cmocka_unit_test(test_cancel_in_decode),
        cmocka_unit_test(test_release_while_running),
        cmocka_unit_test(test_many_cancels),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_full_ring_pauses_only_its_request),
        cmocka_unit_test(test_cancel_while_paused),
        cmocka_unit_test(test_close_with_work_left),
        cmocka_unit_test(test_close_at_once),
        cmocka_unit_test(test_requests_wait_for_memory),
        cmocka_unit_test(test_budget_too_small),
        cmocka_unit_test(test_idle_engine_uses_no_cpu),
        cmocka_unit_test(test_finish_names),
    };
    if (THREADS_ONLY) /* thousands of passes of one sequence, on the engine thread alone */
        cmocka_set_skip_filter("test_loop_guard");
    return cmocka_run_group_tests(tests, setup, close_tiny);
}
