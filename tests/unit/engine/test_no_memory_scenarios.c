/*
 * Without memory: every allocation of common scenarios fails once. At most one request fails, with
 * KL_ERR_MEMORY; the others, and the next, get the same answers as with memory. (The leak sanitizer
 * checks that nothing leaks.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_memory.h"
#include "grammar/regex_rule.h"
#include "grammar/token_trie.h"
#include "questions.h"

#define PAGE KL_KV_PAGE_TOKENS

enum { MOST = 3 }; /* requests of a scenario */

struct scenario {
    size_t parallel;
    void (*before)(struct kl_engine *engine); /* with memory; may be NULL */
    size_t n;                                 /* requests */
    struct question *questions[MOST];
    void (*start)(struct kl_engine *engine, struct kl_request **requests); /* NULL: submits all */
    bool cancels; /* the requests may end as cancelled ones */
};

static struct question first, second, next;

static const struct scenario *current;

/* NULL: there was no memory for the request. */
static struct kl_request *try_submit(struct kl_engine *engine, const struct question *q)
{
    struct kl_request *request;
    struct kl_error err = {0};
    if (kl_engine_submit(engine, &q->options, &request, &err) != KL_OK) {
        assert_int_equal(err.status, KL_ERR_MEMORY);
        assert_null(request);
    }
    return request;
}

/* With the failing allocation: the test itself may not allocate, so the answers stay in their rings
 * until the end. */
static long run(struct kl_engine *engine, long number, struct kl_request **requests)
{
    fail_at(number, false);
    for (size_t i = 0; i < current->n && current->start == NULL; i++)
        requests[i] = try_submit(engine, current->questions[i]);
    if (current->start != NULL)
        current->start(engine, requests);
    stats_when(engine, nothing_left);
    return fail_no_more();
}

/* Returns how many failed. */
static size_t check_answers(struct kl_engine *engine, struct kl_request **requests,
                            const struct answer *expected)
{
    size_t failed = 0;
    for (size_t i = 0; i < current->n; i++) {
        if (requests[i] == NULL) {
            failed++;
            continue;
        }
        struct answer answer;
        answer_init(&answer);
        answers_wait(engine, &requests[i], &answer, 1, NULL);
        if (answer.finish == KL_FINISH_ERROR) {
            assert_int_equal(answer.status, KL_ERR_MEMORY);
            assert_non_null(strstr(answer.why, "out of memory"));
            failed++;
        } else if (answer.finish == KL_FINISH_CANCELLED) {
            assert_true(current->cancels);
        } else {
            expect_same(&answer, &expected[i]);
        }
        kl_buffer_release(&answer.text);
        kl_request_release(requests[i]);
    }
    return failed;
}

static void sweep(const struct scenario *scenario, size_t least_failures)
{
    current = scenario;
    struct answer expected[MOST], expected_next;
    for (size_t i = 0; i < scenario->n; i++)
        expected[i] = ask_alone(scenario->questions[i]);
    make_question(&next, 50, 10, 77);
    expected_next = ask_alone(&next);

    struct kl_engine_options options = usual;
    options.parallel = scenario->parallel;
    options.cache_bytes = 40 * PAGE * kl_kv_bytes_per_token(tiny.model);
    size_t failures = 0;
    bool reached = true;
    for (long number = 0; reached; number++) {
        struct kl_engine *engine = open_engine(options);
        struct kl_request *requests[MOST] = {NULL};
        if (scenario->before != NULL)
            scenario->before(engine);
        reached = run(engine, number, requests) > number;
        size_t failed = check_answers(engine, requests, expected);
        assert_true(failed <= reached);
        failures += failed;
        struct answer answer = ask(engine, &next);
        expect_same(&answer, &expected_next);
        kl_buffer_release(&answer.text);
        kl_engine_close(engine);
    }
    assert_true(failures >= least_failures);
    kl_buffer_release(&expected_next.text);
    for (size_t i = 0; i < scenario->n; i++)
        kl_buffer_release(&expected[i].text);
}

static void ask_first(struct kl_engine *engine)
{
    struct answer answer = ask(engine, &first);
    kl_buffer_release(&answer.text);
}

/* A submit takes the request, its text, its ring; running it, the sequence and pages. */
#define SUBMIT 3

static void test_a_prompt_of_several_steps(void **state)
{
    (void)state;
    make_question(&first, 150, 5, 1);
    sweep(&(struct scenario){.parallel = 2, .n = 1, .questions = {&first}}, SUBMIT + 6);
}

static void test_stop_strings_and_penalties(void **state)
{
    (void)state;
    static const char *const stops[] = {"never to come", "\n\n\n\n"};
    make_question(&first, 40, 100, 2);
    first.options.stops = stops;
    first.options.n_stops = 2;
    first.options.sampling = (struct kl_sampling){
        .temperature = 0.9f, .top_p = 0.9f, .top_k = 40, .repetition_penalty = 1.1f, .seed = 2};
    sweep(&(struct scenario){.parallel = 2, .n = 1, .questions = {&first}}, SUBMIT + 5);
}

static void test_an_answer_by_rule(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"a\": [1, 2, 3]}", "{\"a\": [1, 2, 4], \"b\": true}",
                                        "{\"a\": [1, 22, 3]}"};
    struct kl_rule *rule;
    struct kl_token_trie *trie;
    struct kl_error err;
    tiny_check(kl_choice_rule(texts, 3, &rule, &err), &err);
    tiny_check(kl_token_trie_open(tiny.tokenizer, &trie, &err), &err);
    make_question(&first, 40, 100, 2);
    first.options.rule = rule;
    first.options.trie = trie;
    make_question(&second, 20, 5, 3);
    sweep(&(struct scenario){.parallel = 2, .n = 2, .questions = {&first, &second}}, SUBMIT + 8);
    assert_int_equal(atomic_load(&rule->owners), 1);
    kl_rule_disown(rule);
    kl_token_trie_close(trie);
}

static void test_a_second_turn(void **state)
{
    (void)state;
    make_question(&first, 100, 5, 3);
    second = first; /* the conversation so far, and a little more */
    random_tokens(second.prompt + 100, 60, 4);
    second.options.tokens = second.prompt;
    second.options.n_tokens = 160;
    sweep(&(struct scenario){.parallel = 2, .before = ask_first, .n = 1, .questions = {&second}},
          SUBMIT + 2);
}

static void test_a_page_that_diverges_in_the_middle(void **state)
{
    (void)state;
    make_question(&first, 100, 5, 5);
    second = first;
    random_tokens(second.prompt + PAGE + 10, 50, 6);
    second.options.tokens = second.prompt;
    sweep(&(struct scenario){.parallel = 2, .before = ask_first, .n = 1, .questions = {&second}},
          SUBMIT + 2);
}

static void test_two_at_a_time(void **state)
{
    (void)state;
    make_question(&first, 70, 40, 7);
    second = first; /* as for an answer with two choices */
    second.options.tokens = second.prompt;
    second.options.sampling.temperature = 1.0f;
    second.options.sampling.seed = 8;
    sweep(&(struct scenario){.parallel = 2, .n = 2, .questions = {&first, &second}},
          2 * SUBMIT + 6);
}

static bool some_answered(const struct kl_engine_stats *s)
{
    return s->answer_tokens > 0 || nothing_left(s);
}

static void start_and_cancel(struct kl_engine *engine, struct kl_request **requests)
{
    requests[0] = try_submit(engine, &first);
    requests[1] = try_submit(engine, &second);
    stats_when(engine, some_answered);
    for (size_t i = 0; i < 2; i++) {
        if (requests[i] != NULL)
            kl_request_cancel(requests[i]);
    }
}

static void test_cancelled_running_and_waiting(void **state)
{
    (void)state;
    make_question(&first, 40, 300, 9);
    make_question(&second, 200, 100, 10);
    sweep(&(struct scenario){.parallel = 1,
                             .n = 2,
                             .questions = {&first, &second},
                             .start = start_and_cancel,
                             .cancels = true},
          2 * SUBMIT + 2);
}

static void background_then_interactive(struct kl_engine *engine, struct kl_request **requests)
{
    requests[0] = try_submit(engine, &first);
    stats_when(engine, some_answered);
    requests[1] = try_submit(engine, &second);
}

static void test_background_is_preempted(void **state)
{
    (void)state;
    make_question(&first, 40, 200, 11);
    first.options.priority = KL_PRIORITY_BACKGROUND;
    make_question(&second, 70, 10, 12);
    sweep(&(struct scenario){.parallel = 1,
                             .n = 2,
                             .questions = {&first, &second},
                             .start = background_then_interactive},
          2 * SUBMIT + 4);
}

static void warm_then_ask(struct kl_engine *engine, struct kl_request **requests)
{
    struct kl_error err = {0};
    /* a prompt that could not be precomputed is no loss */
    enum kl_status status = kl_engine_precompute(engine, first.prompt, 90, &err);
    assert_true(status == KL_OK || status == KL_ERR_MEMORY);
    stats_when(engine, nothing_left);
    requests[0] = try_submit(engine, &first);
}

static void test_precompute(void **state)
{
    (void)state;
    make_question(&first, 100, 10, 13);
    sweep(&(struct scenario){.parallel = 1, .n = 1, .questions = {&first}, .start = warm_then_ask},
          SUBMIT + 2);
}

static void test_an_embedding(void **state)
{
    (void)state;
    make_question(&first, 150, 1, 14);
    first.options.embeds = true;
    first.options.pooling = KL_POOLING_MEAN;
    make_question(&second, 20, 5, 15);
    sweep(&(struct scenario){.parallel = 2, .n = 2, .questions = {&first, &second}},
          2 * SUBMIT + 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prompt_of_several_steps),
        cmocka_unit_test(test_stop_strings_and_penalties),
        cmocka_unit_test(test_an_answer_by_rule),
        cmocka_unit_test(test_a_second_turn),
        cmocka_unit_test(test_a_page_that_diverges_in_the_middle),
        cmocka_unit_test(test_two_at_a_time),
        cmocka_unit_test(test_cancelled_running_and_waiting),
        cmocka_unit_test(test_background_is_preempted),
        cmocka_unit_test(test_precompute),
        cmocka_unit_test(test_an_embedding),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
