#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../grammar/toy_rules.h"
#include "grammar/matcher.h"
#include "questions.h"

static struct kl_token_trie *trie;

static int setup(void **state)
{
    struct kl_error err;
    open_tiny(state);
    tiny_check(kl_token_trie_open(tiny.tokenizer, &trie, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    kl_token_trie_close(trie);
    return close_tiny(state);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static struct toy_list list = {.most = 30, .is_told = true};

static const char *const colours[] = {"{\"colour\": \"blue\", \"code\": 1}",
                                      "{\"colour\": \"green\", \"code\": 22}",
                                      "{\"colour\": \"red\", \"code\": 333}"};
static struct toy_set colour = {.texts = colours, .n = 3};

#define LONG_TEXT 3500
static char long_text[LONG_TEXT + 1];
static const char *const long_texts[] = {long_text};
static struct toy_set only_long = {.texts = long_texts, .n = 1};

static const char *const one_word[] = {"yes"};
static struct toy_set only_yes = {.texts = one_word, .n = 1};

/* Some rules of the tests: free strings, then forced text, then only that. */
static struct kl_rule *const rules[] = {&list.rule, &colour.rule, &only_long.rule};
#define N_RULES (sizeof rules / sizeof *rules)

static void make_rules(void)
{
    kl_rule_init(&list.rule, &toy_list_kind);
    kl_rule_init(&colour.rule, &toy_set_kind);
    kl_rule_init(&only_long.rule, &toy_set_kind);
    kl_rule_init(&only_yes.rule, &toy_set_kind);
    for (size_t i = 0; i < LONG_TEXT; i++)
        long_text[i] = "a long text, of many words; "[(i * i / 7 + i / 31) % 28];
}

static void make_ruled(struct question *q, struct kl_rule *rule, size_t n_prompt, uint64_t seed)
{
    make_question(q, n_prompt, 4000, seed);
    q->options.rule = rule;
    q->options.trie = trie;
}

/* Whether the text is a whole answer; else it must be the beginning of one. */
static bool is_whole(struct kl_rule *rule, const struct kl_buffer *text)
{
    struct kl_matcher *matcher;
    struct kl_rule_state state;
    struct kl_error err;
    tiny_check(kl_matcher_open(rule, trie, &matcher, &err), &err);
    kl_matcher_begin(matcher, &state);
    assert_int_equal(kl_matcher_accept_bytes(matcher, &state, text->data, text->len), text->len);
    bool whole = kl_matcher_is_complete(matcher, &state);
    kl_matcher_close(matcher);
    return whole;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void test_answers_follow_the_rule(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    size_t n_stopped = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kl_rule *rule = rules[seed % 2];
        make_ruled(&q, rule, 1 + seed % 40, seed);
        q.options.max_tokens = 40;
        q.options.sampling.temperature = seed % 4 < 2 ? 1.5f : 0.0f;
        q.options.sampling.repetition_penalty = seed % 3 == 0 ? 1.3f : 1.0f;
        struct answer answer = ask(engine, &q);
        assert_true(answer.finish == KL_FINISH_STOP || answer.finish == KL_FINISH_LENGTH);
        /* a complete one may go on, so "length" may be complete as well */
        bool whole = is_whole(rule, &answer.text);
        assert_true(whole || (answer.finish == KL_FINISH_LENGTH && answer.answer_tokens == 40));
        n_stopped += answer.finish == KL_FINISH_STOP;
        kl_buffer_release(&answer.text);
    }
    assert_true(n_stopped > 20);
    kl_engine_close(engine);
}

static void test_forced_text_needs_no_pass(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    struct kl_engine_stats stats;
    make_ruled(&q, &only_yes.rule, 10, 1);
    struct answer answer = ask(engine, &q);
    assert_string_equal(answer.text.data, "yes");
    assert_int_equal(answer.finish, KL_FINISH_STOP);
    assert_int_equal(answer.prompt_tokens, 10);
    assert_true(answer.answer_tokens >= 1 && answer.answer_tokens <= 3);
    kl_engine_stats(engine, &stats);
    assert_int_equal(stats.steps, 0);
    assert_int_equal(stats.answer_tokens, answer.answer_tokens);
    kl_buffer_release(&answer.text);

    /* one token in five is chosen: the place where the texts differ, and the last number */
    make_ruled(&q, &colour.rule, 10, 1);
    answer = ask(engine, &q);
    kl_engine_stats(engine, &stats);
    assert_true(stats.steps <= 4 && answer.answer_tokens > 10);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static void test_long_forced_text(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    make_ruled(&q, &only_long.rule, 100, 1);
    struct answer answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_STOP);
    assert_string_equal(answer.text.data, long_text);
    kl_buffer_release(&answer.text);

    q.options.max_tokens = 500;
    answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_LENGTH);
    assert_int_equal(answer.answer_tokens, 500);
    assert_int_equal(strncmp(answer.text.data, long_text, answer.text.len), 0);
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

static void test_complete_at_the_limit(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    make_ruled(&q, &colour.rule, 20, 2);
    struct answer whole = ask(engine, &q);
    assert_int_equal(whole.finish, KL_FINISH_STOP);
    for (size_t max_tokens = 1; max_tokens <= whole.answer_tokens; max_tokens++) {
        q.options.max_tokens = max_tokens;
        struct answer answer = ask(engine, &q);
        bool all = max_tokens == whole.answer_tokens;
        assert_int_equal(answer.finish, all ? KL_FINISH_STOP : KL_FINISH_LENGTH);
        assert_int_equal(answer.answer_tokens, max_tokens);
        assert_int_equal(strncmp(answer.text.data, whole.text.data, answer.text.len), 0);
        assert_int_equal(answer.text.len == whole.text.len, all);
        kl_buffer_release(&answer.text);
    }
    kl_buffer_release(&whole.text);
    kl_engine_close(engine);
}

static void test_stop_string_in_forced_text(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    const char *stops[] = {"co", ", \"code"};
    make_ruled(&q, &colour.rule, 20, 2);
    q.options.stops = stops;
    q.options.n_stops = 2;
    struct answer answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_STOP);
    assert_string_equal(answer.text.data, "{\"");
    kl_buffer_release(&answer.text);
    q.options.stops = stops + 1;
    q.options.n_stops = 1;
    answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_STOP);
    assert_true(strncmp(answer.text.data, "{\"colour\": \"", 12) == 0);
    assert_int_equal(answer.text.data[answer.text.len - 1], '"');
    kl_buffer_release(&answer.text);
    kl_engine_close(engine);
}

/* ---- the same bits --------------------------------------------------------------------------- */

enum { N = 9 };
static struct question many[N];
static struct answer alone[N];

/* Ruled and free requests of all kinds, and their answers alone. */
static void ask_many_alone(void)
{
    for (size_t i = 0; i < N; i++) {
        struct question *q = &many[i];
        static const size_t lengths[N] = {5, 300, 33, 1, 150, 64, 10, 70, 31};
        make_ruled(q, i == 3 ? NULL : rules[i % N_RULES], lengths[i], 100 + i);
        q->options.max_tokens = i == 8 ? 2000 : 60;
        q->options.sampling.temperature = (float[]){1.5f, 0.0f, 0.7f}[i % 3];
        q->options.sampling.top_k = i % 2 == 0 ? 40 : 0;
        q->options.sampling.repetition_penalty = i % 4 == 1 ? 1.2f : 1.0f;
        q->options.loop_guard = i % 2 == 0;
        alone[i] = ask_alone(q);
    }
}

static void expect_as_alone(struct kl_engine *engine)
{
    struct answer together[N];
    struct kl_request *requests[N];
    for (size_t i = 0; i < N; i++) {
        answer_init(&together[i]);
        requests[i] = submit(engine, &many[i]);
    }
    answers_wait(engine, requests, together, N, NULL);
    for (size_t i = 0; i < N; i++) {
        expect_same(&together[i], &alone[i]);
        kl_request_release(requests[i]);
        kl_buffer_release(&together[i].text);
    }
}

static void test_together_as_alone(void **state)
{
    (void)state;
    static const size_t chunks[] = {1, 7, 64};
    ask_many_alone();
    for (size_t i = 0; i < 3; i++) {
        struct kl_engine_options options = usual;
        options.prefill_chunk = chunks[i];
        options.parallel = 2 + i;
        options.queue_size = N;
        options.n_threads = 1 + i % 2;
        options.cache_bytes = i == 2 ? 64 << 20 : 0;
        struct kl_engine *engine = open_engine(options);
        expect_as_alone(engine);
        if (options.cache_bytes > 0) /* now with cached prompts, and pages of ruled answers */
            expect_as_alone(engine);
        kl_engine_close(engine);
    }
    for (size_t i = 0; i < N; i++)
        kl_buffer_release(&alone[i].text);
}

static bool has_text(struct answer *a)
{
    return a->n_text > 0;
}

static bool has_three_texts(struct answer *a)
{
    return a->n_text > 2;
}

/* A background answer that is preempted, and goes on, is the same. */
static void test_preempted(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.parallel = 1;
    options.cache_bytes = 1 << 20;
    static struct question q, urgent;
    make_ruled(&urgent, &colour.rule, 20, 5);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        make_ruled(&q, seed == 3 ? &only_long.rule : &list.rule, 40, seed);
        list.least = 25; /* a long answer */
        q.options.sampling.temperature = 1.0f;
        q.options.max_tokens = 400;
        struct answer expected = ask_alone(&q), got;
        struct kl_engine *engine = open_engine(options);
        answer_init(&got);
        q.options.priority = KL_PRIORITY_BACKGROUND;
        struct kl_request *request = submit(engine, &q);
        answers_wait(engine, &request, &got, 1, seed == 1 ? has_text : has_three_texts);
        struct answer other = ask(engine, &urgent);
        assert_true(is_whole(&colour.rule, &other.text));
        answers_wait(engine, &request, &got, 1, NULL);
        expect_same(&got, &expected);
        kl_request_release(request);
        kl_buffer_release(&got.text);
        kl_buffer_release(&expected.text);
        kl_buffer_release(&other.text);
        kl_engine_close(engine);
    }
    list.least = 0;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_cancel_and_deadline(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    make_ruled(&q, &list.rule, 50, 3);
    list.least = 30;
    list.most = UINT32_MAX;
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, &q);
    answers_wait(engine, &request, &answer, 1, has_text);
    kl_request_cancel(request);
    answers_wait(engine, &request, &answer, 1, NULL);
    assert_true(answer.finish == KL_FINISH_CANCELLED || answer.finish == KL_FINISH_STOP);
    kl_request_release(request);
    kl_buffer_release(&answer.text);

    q.options.deadline_seconds = 1e-6;
    answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_DEADLINE);
    kl_buffer_release(&answer.text);
    list.least = 0;
    list.most = 30;

    /* the engine goes on, and closing it with a ruled request inside frees all */
    make_ruled(&q, &colour.rule, 50, 3);
    answer = ask(engine, &q);
    assert_int_equal(answer.finish, KL_FINISH_STOP);
    kl_buffer_release(&answer.text);
    request = submit(engine, &q);
    kl_engine_close(engine);
    kl_request_release(request);
    assert_int_equal(atomic_load(&colour.rule.owners), 1);
}

static void test_a_rule_that_fails(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    bool some_text = false;
    make_ruled(&q, &colour.rule, 50, 3);
    for (toy_set_steps = 0; toy_set_steps < 40000; toy_set_steps = toy_set_steps * 5 / 4 + 1) {
        struct answer answer = ask(engine, &q);
        if (answer.finish == KL_FINISH_ERROR) {
            assert_int_equal(answer.status, KL_ERR_LIMIT);
            assert_non_null(strstr(answer.why, "the test's limit of steps"));
            some_text = some_text || answer.text.len > 0;
        } else {
            assert_int_equal(answer.finish, KL_FINISH_STOP);
        }
        kl_buffer_release(&answer.text);
    }
    assert_true(some_text);
    toy_set_steps = SIZE_MAX;
    kl_engine_close(engine);
}

static void test_refused(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(usual);
    static struct question q;
    struct kl_request *request;
    struct kl_error err;
    make_ruled(&q, &colour.rule, 5, 1);
    q.options.trie = NULL;
    assert_int_equal(kl_engine_submit(engine, &q.options, &request, &err), KL_ERR_INVALID);
    assert_int_equal(atomic_load(&colour.rule.owners), 1);
    kl_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_follow_the_rule),
        cmocka_unit_test(test_forced_text_needs_no_pass),
        cmocka_unit_test(test_long_forced_text),
        cmocka_unit_test(test_complete_at_the_limit),
        cmocka_unit_test(test_stop_string_in_forced_text),
        cmocka_unit_test(test_together_as_alone),
        cmocka_unit_test(test_preempted),
        cmocka_unit_test(test_cancel_and_deadline),
        cmocka_unit_test(test_a_rule_that_fails),
        cmocka_unit_test(test_refused),
    };
    make_rules();
    return cmocka_run_group_tests(tests, setup, teardown);
}
