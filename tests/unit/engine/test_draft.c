/* Guesses from earlier text, how often they are right, and how many get a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/draft_share.h"

/* ---- guesses --------------------------------------------------------------------------------- */

enum { CTX = 1000 };

struct fixture {
    struct kl_draft_memory *memory;
    struct kl_draft_rates rates;
    struct kl_drafter drafter;
    int32_t tokens[CTX];
    struct kl_draft_input input;
    struct kl_draft draft[KL_DRAFT_MAX];
    enum kl_draft_source source;
};

static void open_fixture(struct fixture *f)
{
    struct kl_error err;
    assert_int_equal(kl_draft_memory_open(KL_DRAFT_MEMORY_BYTES, &f->memory, &err), KL_OK);
    kl_draft_rates_init(&f->rates);
    assert_int_equal(kl_drafter_open(&f->drafter, CTX, f->memory, &f->rates, &err), KL_OK);
    f->input = (struct kl_draft_input){.tokens = f->tokens, .scope = 1};
    kl_drafter_begin(&f->drafter);
}

static void close_fixture(struct fixture *f)
{
    kl_drafter_release(&f->drafter);
    kl_draft_memory_close(f->memory);
}

/* Letters stand for tokens. */
static void append(struct fixture *f, const char *text)
{
    for (; *text != '\0'; text++)
        f->tokens[f->input.n_tokens++] = *text;
}

static void begin(struct fixture *f, const char *prompt)
{
    kl_drafter_begin(&f->drafter);
    f->input.n_tokens = 0;
    append(f, prompt);
    f->input.n_prompt = f->input.n_tokens;
}

static void expect_draft(struct fixture *f, size_t max, const char *expected)
{
    kl_drafter_read(&f->drafter, &f->input);
    size_t n = kl_draft(&f->drafter, &f->input, f->draft, max, &f->source);
    char found[KL_DRAFT_MAX + 1] = {0};
    for (size_t i = 0; i < n; i++)
        found[i] = (char)f->draft[i].token;
    assert_string_equal(found, expected);
    for (size_t i = 0; i < n; i++)
        assert_true(f->draft[i].chance > 0.0f &&
                    f->draft[i].chance <= (i > 0 ? f->draft[i - 1].chance : 1.0f));
}

static void test_the_longest_match_is_followed(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    begin(&f, "abcdefghij.cd12345.xycd98765,");
    expect_draft(&f, 4, "");
    append(&f, "cd"); /* of two, the latest */
    expect_draft(&f, 4, "9876");
    append(&f, "1");
    expect_draft(&f, 4, "2345"); /* longer than what goes on behind an exchanged token */
    close_fixture(&f);
    open_fixture(&f);
    begin(&f, "abcdefghij.cd98765.bd.");
    append(&f, "abcd");
    expect_draft(&f, 3, "efg"); /* longer, though earlier */
    append(&f, "ef");
    expect_draft(&f, 15, "ghij.cd98765.bd");
    expect_draft(&f, 0, "");
    close_fixture(&f);
}

static void test_a_text_that_repeats_itself_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    begin(&f, "..xyzxyz");
    expect_draft(&f, 8, "xyzxyzxy");
    close_fixture(&f);
}

static void test_a_changed_text_is_found_again(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    begin(&f, "0123456789ABCDEFGH.");
    append(&f, "0123");
    expect_draft(&f, 3, "456");
    append(&f, "x"); /* exchanged */
    expect_draft(&f, 3, "567");
    append(&f, "56");
    expect_draft(&f, 3, "789");
    append(&f, "9"); /* "78" was left out */
    expect_draft(&f, 3, "ABC");
    append(&f, "yA"); /* added */
    expect_draft(&f, 3, "BCD");
    close_fixture(&f);
}

static void test_a_prediction_is_followed_from_its_beginning(void **state)
{
    (void)state;
    static const int32_t prediction[] = {'h', 'e', 'l', 'l', 'o', '!'};
    struct fixture f;
    open_fixture(&f);
    f.input.prediction = prediction;
    f.input.n_prediction = 6;
    begin(&f, "abc");
    expect_draft(&f, 3, "hel");
    assert_int_equal(f.source, KL_DRAFT_PREDICTION);
    append(&f, "he");
    expect_draft(&f, 9, "llo!");
    append(&f, "??ll");
    expect_draft(&f, 9, "o!");
    assert_int_equal(f.source, KL_DRAFT_PREDICTION);
    close_fixture(&f);
}

static void test_earlier_answers_are_found_in_their_scope_only(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    begin(&f, "what is it? An");
    append(&f, "answer of before.");
    kl_draft_memory_add(f.memory, 1, f.tokens, f.input.n_prompt, f.input.n_tokens);
    begin(&f, "so, then what is it? An");
    expect_draft(&f, 6, "answer");
    assert_int_equal(f.source, KL_DRAFT_EARLIER);
    append(&f, "answer of b");
    expect_draft(&f, 15, "efore.");
    f.input.scope = 2;
    begin(&f, "An");
    expect_draft(&f, 6, "");
    append(&f, "answer of b");
    kl_drafter_read(&f.drafter, &f.input);
    assert_false(f.drafter.places[KL_DRAFT_EARLIER].found);
    f.input.scope = 1;
    append(&f, "e");
    expect_draft(&f, 3, "for");
    close_fixture(&f);
}

/* Other answers overwrite one while it is followed: nothing of them is guessed. */
static void test_overwritten_answers_are_forgotten(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    begin(&f, "abcdefghijklmnop");
    append(&f, "0123456789");
    kl_draft_memory_add(f.memory, 1, f.tokens, f.input.n_prompt, f.input.n_tokens);
    begin(&f, "efghijklmnop");
    expect_draft(&f, 3, "012");
    int32_t *others = calloc(100000, sizeof *others);
    for (int32_t i = 0; i < 100000; i++)
        others[i] = '#';
    for (int i = 0; i < 7; i++)
        kl_draft_memory_add(f.memory, 2, others, 10, 100000);
    free(others);
    expect_draft(&f, 3, "");
    begin(&f, "efghijklmnop");
    expect_draft(&f, 3, "");
    close_fixture(&f);
}

/* A long prompt is read in pieces; there is no draft before all of it was read. */
static void test_long_texts_are_read_in_pieces(void **state)
{
    (void)state;
    enum { N = 3 * KL_DRAFT_PIECE };
    struct kl_error err;
    struct kl_draft_memory *memory;
    struct kl_draft_rates rates;
    struct kl_drafter drafter;
    struct kl_draft draft[KL_DRAFT_MAX];
    enum kl_draft_source source;
    int32_t *tokens = malloc(N * sizeof *tokens);
    for (int32_t i = 0; i < N; i++)
        tokens[i] = i % 1000;
    kl_draft_rates_init(&rates);
    assert_int_equal(kl_draft_memory_open(KL_DRAFT_MEMORY_BYTES, &memory, &err), KL_OK);
    assert_int_equal(kl_drafter_open(&drafter, N, memory, &rates, &err), KL_OK);
    kl_drafter_begin(&drafter);
    const struct kl_draft_input input = {.tokens = tokens, .n_prompt = N, .n_tokens = N};
    size_t pieces = 0;
    for (; kl_draft(&drafter, &input, draft, 4, &source) == 0; pieces++) {
        assert_in_range(pieces, 0, 3);
        kl_drafter_read(&drafter, &input);
    }
    assert_int_equal(pieces, 4); /* and the token between prediction and prompt */
    assert_int_equal(draft[0].token, N % 1000);
    kl_drafter_release(&drafter);
    kl_draft_memory_close(memory);
    free(tokens);
}

/* Random texts of few tokens in a small table, whose entries collide: each guess is a token that
 * occurred. */
static void test_guesses_are_tokens_of_the_text(void **state)
{
    (void)state;
    enum { PROMPT = 300, FIRST = 100, KINDS = 60 };
    static int32_t prediction[PROMPT];
    struct fixture f;
    size_t n_guesses = 0;
    open_fixture(&f);
    srand(1);
    for (int round = 0; round < 30; round++) {
        kl_drafter_begin(&f.drafter);
        for (size_t i = 0; i < CTX; i++)
            f.tokens[i] = FIRST + rand() % KINDS;
        for (size_t i = 0; i < PROMPT; i++)
            prediction[i] = FIRST + rand() % KINDS;
        f.input.n_prompt = f.input.n_tokens = PROMPT;
        f.input.prediction = prediction;
        f.input.n_prediction = round % 2 == 0 ? PROMPT : 0;
        f.input.scope = (uint64_t)round % 3;
        for (; f.input.n_tokens < CTX; f.input.n_tokens++) {
            for (size_t i = 0; i < KL_DRAFT_MAX; i++)
                f.draft[i].token = 7; /* of none */
            kl_drafter_read(&f.drafter, &f.input);
            size_t n = kl_draft(&f.drafter, &f.input, f.draft, KL_DRAFT_MAX, &f.source);
            for (size_t i = 0; i < n; i++)
                assert_in_range(f.draft[i].token, FIRST, FIRST + KINDS - 1);
            n_guesses += n;
        }
        kl_draft_memory_add(f.memory, f.input.scope, f.tokens, PROMPT, CTX);
    }
    assert_true(n_guesses > 10000);
    close_fixture(&f);
}

/* ---- rates ----------------------------------------------------------------------------------- */

static void test_rates_follow_what_happens(void **state)
{
    (void)state;
    struct kl_draft_rates own = {0}, all;
    kl_draft_rates_init(&all);
    float first = kl_draft_rates_chance(&own, &all, KL_DRAFT_CONVERSATION, 8, 0);
    for (int i = 0; i < 30; i++)
        kl_draft_rates_count(&own, &all, KL_DRAFT_CONVERSATION, 8, 0, false);
    float bad = kl_draft_rates_chance(&own, &all, KL_DRAFT_CONVERSATION, 8, 0);
    assert_true(bad < first / 2);
    struct kl_draft_rates other = {0}; /* another request learns from it, but less */
    float others = kl_draft_rates_chance(&other, &all, KL_DRAFT_CONVERSATION, 8, 0);
    assert_true(others > bad && others < first);
    for (int i = 0; i < 30; i++)
        kl_draft_rates_count(&own, &all, KL_DRAFT_CONVERSATION, 8, 0, true);
    assert_true(kl_draft_rates_chance(&own, &all, KL_DRAFT_CONVERSATION, 8, 0) > 0.6f);
    /* other lengths and sources are counted for themselves */
    struct kl_draft_rates initial;
    kl_draft_rates_init(&initial);
    const size_t lengths[] = {0, 1, 2, 3, 4, 6, 12, 16, 32, 1000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        assert_true(kl_draft_rates_chance(&own, &all, KL_DRAFT_CONVERSATION, lengths[i], 0) ==
                    kl_draft_rates_chance(&other, &initial, KL_DRAFT_CONVERSATION, lengths[i], 0));
    assert_true(kl_draft_rates_chance(&own, &all, KL_DRAFT_EARLIER, 8, 0) == first);
    /* after a change, what was before it matters */
    assert_true(kl_draft_rates_chance(&other, &all, KL_DRAFT_CONVERSATION, 0, 20) >
                kl_draft_rates_chance(&other, &all, KL_DRAFT_CONVERSATION, 0, 2));
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows up to `cheap` cost nothing, further ones `step` each. */
static struct kl_pass_costs costs_of(size_t cheap, float step)
{
    struct kl_pass_costs costs;
    for (size_t i = 0; i < KL_PASS_COSTS; i++)
        costs.cost[i] = 1.0f + (i + 1 > cheap ? step * (float)(i + 1 - cheap) : 0.0f);
    return costs;
}

static void fill(struct kl_draft draft[KL_DRAFT_MAX], float each)
{
    float chance = 1.0f;
    for (size_t i = 0; i < KL_DRAFT_MAX; i++)
        draft[i] = (struct kl_draft){1, chance *= each};
}

static void test_rows_are_added_while_they_pay(void **state)
{
    (void)state;
    const struct kl_pass_costs costs = costs_of(1, 0.2f), free_rows = costs_of(4, 0.5f);
    struct kl_draft draft[KL_DRAFT_MAX];
    struct kl_draft_offer offer = {.draft = draft, .n = KL_DRAFT_MAX, .credit = 10.0f, .n_rows = 1};
    fill(draft, 0.1f); /* 0.1 tokens for 0.2 passes */
    assert_int_equal(kl_draft_share(&offer, 1, 1, 7, &costs), 0);
    fill(draft, 0.5f);
    assert_int_equal(kl_draft_share(&offer, 1, 1, 7, &costs), 1);
    fill(draft, 0.99f);
    assert_int_equal(kl_draft_share(&offer, 1, 1, 7, &costs), 7);
    assert_int_equal(kl_draft_share(&offer, 1, 1, 3, &costs), 3);
    offer.n = 2;
    assert_int_equal(kl_draft_share(&offer, 1, 1, 7, &costs), 2);
    offer.n = KL_DRAFT_MAX;
    fill(draft, 0.2f); /* rows that cost nothing are used, though the first alone gains little */
    assert_int_equal(kl_draft_share(&offer, 1, 1, 7, &free_rows), 3);
    assert_int_equal(offer.taken, 3);
}

static void test_the_loss_of_a_request_is_bounded(void **state)
{
    (void)state;
    struct kl_draft draft[KL_DRAFT_MAX];
    fill(draft, 0.99f);
    float credit = KL_DRAFT_FIRST_CREDIT, seconds = 0.0f;
    for (size_t n = 1; n <= 1000; n++) { /* every guess is wrong */
        struct kl_draft_offer offer = {
            .draft = draft, .n = KL_DRAFT_MAX, .credit = credit, .n_rows = 1};
        size_t rows = kl_draft_share(&offer, 1, 1, 7, &kl_pass_costs_usual);
        float slower = kl_pass_cost(&kl_pass_costs_usual, 1 + rows);
        credit = kl_draft_credit(credit, 1, slower);
        seconds += slower;
        assert_true(seconds <= 1.03f * (float)n);
    }
    assert_true(seconds > 1010.0f); /* it tried */
}

static void test_neighbours_do_not_lose(void **state)
{
    (void)state;
    const struct kl_pass_costs costs = costs_of(4, 0.1f);
    struct kl_draft draft[KL_DRAFT_MAX];
    fill(draft, 0.95f);
    struct kl_draft_offer offers[3] = {{.draft = draft, .n = 7, .credit = 100.0f, .n_rows = 1},
                                       {.credit = 0.0f, .n_rows = 1},
                                       {.draft = draft, .n = 7, .credit = 100.0f, .n_rows = 1}};
    /* three rows: the fourth costs nothing, the fifth would slow the second request */
    assert_int_equal(kl_draft_share(offers, 3, 3, 5, &costs), 1);
    /* which drafts have made faster before: it may lose some of that */
    offers[1].credit = 0.15f;
    assert_int_equal(kl_draft_share(offers, 3, 3, 5, &costs), 2);
    offers[1].credit = 100.0f;
    assert_int_equal(kl_draft_share(offers, 3, 3, 5, &costs), 5);
    assert_int_equal(offers[1].taken, 0);
    assert_in_range(offers[0].taken, 2, 3);
    assert_in_range(offers[2].taken, 2, 3);
    /* rows of prompts in the same pass wait for nothing */
    assert_int_equal(kl_draft_share(offers, 3, 4, 5, &costs), 0);
    assert_int_equal(kl_draft_share(offers, 3, 100, 5, &costs), 2); /* 0.2 of 10.6 */
}

static void test_costs_beyond_the_measured_rows(void **state)
{
    (void)state;
    const struct kl_pass_costs costs = costs_of(1, 0.25f);
    assert_true(kl_pass_cost(&costs, 1) == 1.0f && kl_pass_cost(&costs, 16) == 4.75f);
    assert_true(kl_pass_cost(&costs, 17) == 5.0f && kl_pass_cost(&costs, 116) == 29.75f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_longest_match_is_followed),
        cmocka_unit_test(test_a_text_that_repeats_itself_goes_on),
        cmocka_unit_test(test_a_changed_text_is_found_again),
        cmocka_unit_test(test_a_prediction_is_followed_from_its_beginning),
        cmocka_unit_test(test_earlier_answers_are_found_in_their_scope_only),
        cmocka_unit_test(test_overwritten_answers_are_forgotten),
        cmocka_unit_test(test_long_texts_are_read_in_pieces),
        cmocka_unit_test(test_guesses_are_tokens_of_the_text),
        cmocka_unit_test(test_rates_follow_what_happens),
        cmocka_unit_test(test_rows_are_added_while_they_pay),
        cmocka_unit_test(test_the_loss_of_a_request_is_bounded),
        cmocka_unit_test(test_neighbours_do_not_lose),
        cmocka_unit_test(test_costs_beyond_the_measured_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
