/* Answers with drafts are those without, whatever is asked, in any company. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "../grammar/toy_rules.h"
#include "engine/request.h"
#include "grammar/token_trie.h"
#include "questions.h"

enum { COMPANY = 3, ROUNDS = 240, MAX_ANSWER = 50 };

/* Rows that cost next to nothing, so that every guess is tried. */
static struct kl_pass_costs nearly_free(void)
{
    struct kl_pass_costs costs;
    for (size_t i = 0; i < KL_PASS_COSTS; i++)
        costs.cost[i] = 1.0f + 0.0005f * (float)i;
    return costs;
}

static uint64_t random_state = 1;

static size_t random_below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % n;
}

/* A request as it was answered without drafts. */
struct known {
    struct question question;
    int32_t prediction[MAX_ANSWER + 20];
    char stop[4];
    const char *stops[1];
    int32_t tokens[MAX_ANSWER];
    size_t n_tokens;
    struct answer answer;
};

/* Rules of which make_known takes one, or none: one with free strings, one that forces much. */
static struct toy_list list = {.most = 20, .is_told = true};
static const char *const texts[] = {"[\"ten\", \"two\", \"thirty\", \"four\", \"five\"]",
                                    "[\"ten\", \"two\", \"twenty\", \"four\"]",
                                    "[\"ten\", \"two\", \"twenty\", \"four\", \"five\"]"};
static struct toy_set set = {.texts = texts, .n = 3};
static struct kl_token_trie *trie; /* NULL: no rules */

/* A prompt that repeats parts of itself, and random settings. */
static void make_known(struct known *k)
{
    static const float temperatures[] = {0.0f, 0.0f, 0.3f, 0.8f, 1.5f};
    static const float top_ps[] = {1.0f, 1.0f, 0.9f, 0.5f}, min_ps[] = {0.0f, 0.0f, 0.1f};
    static const float penalties[] = {1.0f, 1.0f, 1.2f, 0.8f};
    static const uint32_t top_ks[] = {0, 0, 1, 5, 40};
    size_t n = 1 + random_below(90);
    make_question(&k->question, n, 1 + random_below(MAX_ANSWER), random_below(1000000));
    for (size_t i = 0; i + 12 < n; i += 1 + random_below(12))
        memmove(k->question.prompt + i, k->question.prompt + random_below(n / 2),
                6 * sizeof(int32_t));
    struct kl_request_options *o = &k->question.options;
    o->sampling = (struct kl_sampling){.temperature = temperatures[random_below(5)],
                                       .top_p = top_ps[random_below(4)],
                                       .min_p = min_ps[random_below(3)],
                                       .top_k = top_ks[random_below(5)],
                                       .repetition_penalty = penalties[random_below(4)],
                                       .seed = random_below(1000)};
    o->loop_guard = random_below(2) == 0;
    o->cache_scope = random_below(2);
    if (trie != NULL && random_below(4) > 0) {
        o->rule = random_below(2) == 0 ? &list.rule : &set.rule;
        o->trie = trie;
    }
    memset(k->stop, 0, sizeof k->stop);
    k->stop[0] = (char)('a' + random_below(26));
    if (random_below(2) == 0)
        k->stop[1] = (char)('a' + random_below(26));
    k->stops[0] = k->stop;
    if (random_below(4) == 0) {
        o->stops = k->stops;
        o->n_stops = 1;
    }
}

/* A prediction: the answer, with tokens exchanged, left out and added. */
static void predict(struct known *k)
{
    size_t n = 0, every = 2 + random_below(20);
    for (size_t i = 0; i < k->n_tokens && n + 3 < MAX_ANSWER; i++) {
        size_t change = random_below(every);
        if (change != 0)
            k->prediction[n++] = k->tokens[i];
        if (change <= 1)
            k->prediction[n++] = (int32_t)random_below(TINY_ORDINARY);
    }
    k->question.options.prediction = k->prediction;
    k->question.options.n_prediction = random_below(3) == 0 ? 0 : n;
}

static void answer_all(struct kl_engine *engine, struct known *known, size_t n,
                       void (*see)(struct known *, const struct kl_request *, struct answer *))
{
    struct kl_request *requests[COMPANY];
    struct answer answers[COMPANY];
    for (size_t i = 0; i < n; i++) {
        requests[i] = submit(engine, &known[i].question);
        answer_init(&answers[i]);
    }
    answers_wait(engine, requests, answers, n, NULL);
    for (size_t i = 0; i < n; i++) {
        see(&known[i], requests[i], &answers[i]);
        kl_request_release(requests[i]);
    }
}

static void remember(struct known *k, const struct kl_request *r, struct answer *answer)
{
    k->n_tokens = kl_request_answer_tokens(r);
    memcpy(k->tokens, r->tokens + r->n_prompt, k->n_tokens * sizeof *k->tokens);
    k->answer = *answer;
}

static void compare(struct known *k, const struct kl_request *r, struct answer *answer)
{
    expect_same(&k->answer, answer);
    assert_int_equal(kl_request_answer_tokens(r), k->n_tokens);
    assert_memory_equal(r->tokens + r->n_prompt, k->tokens, k->n_tokens * sizeof *k->tokens);
    if (k->question.options.rule == NULL) /* an event for each token, as without */
        assert_int_equal(k->answer.n_text, answer->n_text);
    kl_buffer_release(&answer->text);
}

static uint64_t sum(const uint64_t counts[KL_N_DRAFT_SOURCES])
{
    uint64_t n = 0;
    for (size_t i = 0; i < KL_N_DRAFT_SOURCES; i++)
        n += counts[i];
    return n;
}

static void compare_with_drafts(size_t draft_max, size_t n_rounds, size_t cache_bytes)
{
    const struct kl_pass_costs costs = nearly_free();
    struct kl_engine_options options = usual;
    options.cache_bytes = cache_bytes;
    options.pass_costs = &costs;
    options.draft_max = draft_max;
    struct kl_engine *drafting = open_engine(options);
    options.parallel = 1;
    options.draft_max = 0;
    struct kl_engine *plain = open_engine(options);
    struct known known[COMPANY];
    if (getenv("KINGLET_TEST_BRIEF") != NULL)
        n_rounds = (n_rounds + 3) / 4;
    for (size_t round = 0; round < n_rounds; round++) {
        for (size_t i = 0; i < COMPANY; i++)
            make_known(&known[i]);
        answer_all(plain, known, COMPANY, remember);
        for (size_t i = 0; i < COMPANY; i++)
            predict(&known[i]);
        answer_all(drafting, known, COMPANY, compare);
        known[0].question.options.n_prediction = 0; /* once more: now there is an earlier answer */
        answer_all(drafting, known, 1, compare);
        for (size_t i = 0; i < COMPANY; i++)
            kl_buffer_release(&known[i].answer.text);
    }
    struct kl_engine_stats with, without;
    kl_engine_stats(drafting, &with);
    kl_engine_stats(plain, &without);
    assert_int_equal(sum(without.drafted_tokens), 0);
    assert_true(sum(with.accepted_tokens) > n_rounds * (trie == NULL ? 20 : 5));
    assert_true(sum(with.drafted_tokens) >
                sum(with.accepted_tokens) + n_rounds * (trie == NULL ? 10 : 1));
    for (enum kl_draft_source s = 0; s < (trie == NULL ? KL_DRAFT_RULE : KL_N_DRAFT_SOURCES); s++)
        assert_true(with.accepted_tokens[s] > 0);
    kl_engine_close(plain);
    kl_engine_close(drafting);
}

static void test_text_is_the_same(void **state)
{
    (void)state;
    compare_with_drafts(7, ROUNDS, (size_t)1 << 20);
}

static void test_text_is_the_same_with_any_length_of_drafts(void **state)
{
    (void)state;
    compare_with_drafts(KL_DRAFT_MAX, ROUNDS / 4, 0);
    compare_with_drafts(3, ROUNDS / 8, 0);
}

static void test_text_is_the_same_with_rules(void **state)
{
    (void)state;
    struct kl_error err;
    kl_rule_init(&list.rule, &toy_list_kind);
    kl_rule_init(&set.rule, &toy_set_kind);
    tiny_check(kl_token_trie_open(tiny.tokenizer, &trie, &err), &err);
    compare_with_drafts(7, ROUNDS, (size_t)1 << 20);
    compare_with_drafts(KL_DRAFT_MAX, ROUNDS / 4, 0);
    kl_token_trie_close(trie);
    trie = NULL;
}

static void test_text_is_the_same_with_int8_pages(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_model_options options = {.kv_type = KL_KV_INT8};
    struct kl_model *f16 = tiny.model;
    tiny_check(kl_kernels_select("auto", &options.kernels, &err), &err);
    tiny_check(kl_model_open(tiny.gguf, &options, &tiny.model, &err), &err);
    compare_with_drafts(7, ROUNDS / 4, (size_t)1 << 20);
    kl_model_close(tiny.model);
    tiny.model = f16;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_the_same),
        cmocka_unit_test(test_text_is_the_same_with_any_length_of_drafts),
        cmocka_unit_test(test_text_is_the_same_with_rules),
        cmocka_unit_test(test_text_is_the_same_with_int8_pages),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
