/* DRY: matches against a search that compares at each place; sequence breakers as text. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bare_request.h"
#include "engine/dry.h"

enum { N_IDS = 5, LONG = 2000 };

static size_t compare_at_each_place(const int32_t *tokens, size_t n, uint32_t *lengths)
{
    size_t longest = 0;
    for (size_t at = 1; at < n; at++) {
        size_t len = 0;
        while (len < at && len < KL_DRY_LONGEST && tokens[at - 1 - len] == tokens[n - 1 - len])
            len++;
        longest = len > longest ? len : longest;
        if (lengths[tokens[at]] < len)
            lengths[tokens[at]] = (uint32_t)len;
    }
    return longest;
}

static void expect_same_matches(const int32_t *tokens, size_t n)
{
    uint32_t expected[N_IDS] = {0}, found[N_IDS] = {0};
    size_t longest = compare_at_each_place(tokens, n, expected);
    assert_int_equal(kl_dry_search(tokens, n, found), longest);
    assert_int_equal(kl_dry_search(tokens, n, NULL), longest);
    assert_memory_equal(found, expected, sizeof found);
}

static void test_matches(void **state)
{
    (void)state;
    static int32_t tokens[LONG];
    struct kl_random r;
    kl_random_init(&r, 3);
    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + kl_random_next(&r) % (round % 100 == 0 ? LONG : 40);
        size_t ids = 1 + kl_random_next(&r) % N_IDS, period = 1 + kl_random_next(&r) % 30;
        for (size_t i = 0; i < n; i++) {
            bool copies = i >= period && kl_random_next(&r) % 50 != 0;
            tokens[i] = copies ? tokens[i - period] : (int32_t)(kl_random_next(&r) % ids);
        }
        expect_same_matches(tokens, n);
    }
}

/* Takes a search by comparing longest: 40,000 tokens, all the same. */
static void test_a_hostile_history(void **state)
{
    (void)state;
    static int32_t tokens[40000];
    uint32_t lengths[1] = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(kl_dry_search(tokens, 40000, lengths), KL_DRY_LONGEST);
}

static void test_penalty(void **state)
{
    (void)state;
    struct kl_dry dry = {.multiplier = 0.8f, .base = 1.75f, .allowed_length = 2};
    assert_true(kl_dry_penalty(&dry, 0) == 0.0f);
    assert_true(kl_dry_penalty(&dry, 1) == 0.0f);
    assert_true(kl_dry_penalty(&dry, 2) == 0.8f);
    assert_true(fabsf(kl_dry_penalty(&dry, 4) - 0.8f * 1.75f * 1.75f) < 1e-6f);
    assert_true(kl_dry_penalty(&dry, 256) == FLT_MAX);
    dry.allowed_length = 0;
    assert_true(kl_dry_penalty(&dry, 0) == 0.0f); /* a token that continues nothing */
    assert_true(fabsf(kl_dry_penalty(&dry, 1) - 0.8f * 1.75f) < 1e-6f);
}

/* The number of bytes, each a token, behind the last break of text. */
static size_t unbroken(const struct kl_dry *dry, const char *text)
{
    int32_t ids[100];
    size_t n = spell(text, ids);
    return kl_dry_unbroken(dry, tokenizer, ids, n, 100);
}

static void test_breakers(void **state)
{
    (void)state;
    struct kl_dry dry = {.n_breakers = 3, .breakers = {"\n", "User:", "ab"}};
    assert_int_equal(unbroken(&dry, "hello"), 5);
    assert_int_equal(unbroken(&dry, "a line\nhello"), 5);
    assert_int_equal(unbroken(&dry, "hello\n"), 0);
    assert_int_equal(unbroken(&dry, "User: hello"), 6);
    assert_int_equal(unbroken(&dry, "User: User hello"), 11);
    assert_int_equal(unbroken(&dry, "xaby"), 1);
    assert_int_equal(unbroken(&dry, "xayb"), 4);
    dry.n_breakers = 0;
    assert_int_equal(unbroken(&dry, "User:\nab"), 8);

    int32_t ids[] = {byte_token('a'), end_token(), byte_token('b'), byte_token('c')};
    assert_int_equal(kl_dry_unbroken(&dry, tokenizer, ids, 4, 100), 2);
    assert_int_equal(kl_dry_unbroken(&dry, tokenizer, ids, 4, 1), 1);
    /* no breaker is read across a control token */
    dry = (struct kl_dry){.n_breakers = 1, .breakers = {"ab"}};
    assert_int_equal(kl_dry_unbroken(&dry, tokenizer, ids, 4, 100), 2);

    /* a breaker in the middle of a token */
    struct kl_error err;
    int32_t long_id;
    tiny_check(kl_tokenizer_add(tokenizer, "xxaby", 5, false, &long_id, &err), &err);
    const int32_t with_long[] = {byte_token('q'), long_id, byte_token('r')};
    assert_int_equal(kl_dry_unbroken(&dry, tokenizer, with_long, 3, 100), 1);
    assert_true(kl_dry_is_exempt(&dry, tokenizer, long_id));
    assert_true(kl_dry_is_exempt(&dry, tokenizer, end_token()));
    assert_false(kl_dry_is_exempt(&dry, tokenizer, byte_token('a')));
}

/* A breaker of the greatest length, whose bytes are tokens of their own. */
static void test_a_long_breaker(void **state)
{
    (void)state;
    struct kl_dry dry = {.n_breakers = 1};
    char text[2 * KL_MAX_DRY_BREAKER_SIZE + 1] = {0};
    memset(text, 'x', 20);
    for (size_t i = 0; i < KL_MAX_DRY_BREAKER_SIZE; i++)
        dry.breakers[0][i] = text[20 + i] = (char)('a' + i % 20);
    strcat(text, "yz");
    assert_int_equal(unbroken(&dry, text), 2);
    text[20] = 'x';
    assert_int_equal(unbroken(&dry, text), strlen(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),        cmocka_unit_test(test_a_hostile_history),
        cmocka_unit_test(test_penalty),        cmocka_unit_test(test_breakers),
        cmocka_unit_test(test_a_long_breaker),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
