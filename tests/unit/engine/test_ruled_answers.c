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

#define LONG_TEXT 6000
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
    make_question(q, n_prompt, 3000, seed);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_follow_the_rule),
        cmocka_unit_test(test_forced_text_needs_no_pass),
    };
    make_rules();
    return cmocka_run_group_tests(tests, setup, teardown);
}
