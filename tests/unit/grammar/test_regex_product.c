/* Products of regular expressions, and the shortest way to a match. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/regex_least.h"
#include "grammar/regex_product.h"

static struct kl_regex *compile(const char *pattern)
{
    struct kl_regex *regex;
    struct kl_error err = {0};
    if (kl_regex_compile(pattern, strlen(pattern), KL_REGEX_SEARCH, &regex, &err) != KL_OK)
        fail_msg("%s: %s", pattern, err.text);
    return regex;
}

/* Returns whether the text matches; each state before its end must be alive then. */
static bool matches(const struct kl_regex *regex, const char *text)
{
    struct kl_regex_run *run;
    assert_int_equal(kl_regex_run_open(regex, &run, NULL), KL_OK);
    uint32_t state = kl_regex_run_start(run);
    for (; *text != '\0' && state != KL_REGEX_DEAD; text++)
        state = kl_regex_run_step(run, state, (uint8_t)*text);
    bool accepts = state != KL_REGEX_DEAD && kl_regex_run_accepts(run, state);
    assert_int_equal(kl_regex_run_failure(run), KL_OK);
    kl_regex_run_close(run);
    return accepts;
}

/* A pattern with '!' first must not match. */
static const struct {
    const char *patterns[3];
    uint32_t min, max;
    const char *texts[6], *others[6];
} products[] = {
    {{"^a", "z$"}, 0, UINT32_MAX, {"az", "abz"}, {"a", "z", "", "za"}},
    {{"^a", "!z$"}, 0, UINT32_MAX, {"a", "ab", "aza"}, {"az", "", "b"}},
    {{"!^(?:a|bc)$"}, 0, UINT32_MAX, {"", "b", "ab", "bcd", "\xC3\xA4"}, {"a", "bc"}},
    {{"^[a-z]+$"}, 2, 3, {"ab", "abc"}, {"a", "abcd", "", "aB"}},
    {{"^.*$"}, 2, 2, {"\xC3\xA4\xC3\xB6", "\xE2\x82\xAC\xF0\x9F\x98\x80"}, {"\xC3\xA4", "abc"}},
    {{NULL}, 1, 2, {"a", "ab"}, {"", "abc"}},
};

static void test_products_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(products) / sizeof(*products); i++) {
        struct kl_regex_term terms[3];
        struct kl_regex *compiled[3], *product;
        size_t n = 0;
        for (; n < 3 && products[i].patterns[n] != NULL; n++) {
            bool is_negated = products[i].patterns[n][0] == '!';
            compiled[n] = compile(products[i].patterns[n] + is_negated);
            terms[n] = (struct kl_regex_term){compiled[n], is_negated};
        }
        assert_int_equal(
            kl_regex_product(terms, n, products[i].min, products[i].max, &product, NULL), KL_OK);
        assert_non_null(product);
        for (size_t k = 0; k < 6 && products[i].texts[k] != NULL; k++)
            if (!matches(product, products[i].texts[k]))
                fail_msg("product %zu does not match %s", i, products[i].texts[k]);
        for (size_t k = 0; k < 6 && products[i].others[k] != NULL; k++)
            if (matches(product, products[i].others[k]))
                fail_msg("product %zu matches %s", i, products[i].others[k]);
        kl_regex_free(product);
        for (size_t k = 0; k < n; k++)
            kl_regex_free(compiled[k]);
    }
}

/* Every state that a text can reach leads to a match: bytes are followed at random. */
static void test_products_never_get_stuck(void **state)
{
    (void)state;
    struct kl_regex *name = compile("^[a-z]+(-[a-z]+)*$"), *product;
    struct kl_regex_term term = {name, false};
    assert_int_equal(kl_regex_product(&term, 1, 3, 6, &product, NULL), KL_OK);
    struct kl_regex_run *run;
    assert_int_equal(kl_regex_run_open(product, &run, NULL), KL_OK);
    uint32_t seed = 1;
    for (int i = 0; i < 500; i++) {
        uint32_t at = kl_regex_run_start(run);
        size_t len = 0;
        for (bool ends = false; !ends; len++) {
            uint32_t next[256], n = 0;
            for (int byte = 0; byte < 256; byte++) {
                uint32_t to = kl_regex_run_step(run, at, (uint8_t)byte);
                if (to != KL_REGEX_DEAD)
                    next[n++] = to;
            }
            ends = n == 0;
            if (ends)
                assert_true(kl_regex_run_accepts(run, at));
            else
                at = next[(seed = seed * 1664525 + 1013904223) % 7 == 0 ? 0 : seed / 7 % n];
        }
        assert_int_equal(len - 1, 6);
    }
    kl_regex_run_close(run);
    kl_regex_free(product);
    kl_regex_free(name);
}

static void test_an_empty_product_is_none(void **state)
{
    (void)state;
    struct kl_regex *a = compile("^a"), *b = compile("^b"), *product;
    struct kl_regex_term terms[] = {{a, false}, {b, false}}, none[] = {{a, false}, {a, true}};
    assert_int_equal(kl_regex_product(terms, 2, 0, UINT32_MAX, &product, NULL), KL_OK);
    assert_null(product);
    assert_int_equal(kl_regex_product(none, 2, 0, UINT32_MAX, &product, NULL), KL_OK);
    assert_null(product);
    kl_regex_free(a);
    kl_regex_free(b);
}

static void test_a_large_product_is_refused(void **state)
{
    (void)state;
    struct kl_regex *a = compile("(a|b)*a(a|b){11}$"), *product;
    struct kl_regex_term term = {a, false};
    struct kl_error err = {0};
    assert_int_equal(kl_regex_product(&term, 1, 0, 1000, &product, &err), KL_ERR_LIMIT);
    assert_null(product);
    kl_regex_free(a);
}

static void test_the_shortest_way_counts_characters(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *begin;
        uint32_t least;
    } samples[] = {{"^abc$", "", 3},
                   {"^abc$", "ab", 1},
                   {"^a*$", "", 0},
                   {"^(abcd|x)$", "", 1},
                   {"^(abcd|x)$", "a", 3},
                   {"^\xC3\xA4\xE2\x82\xAC$", "", 2},
                   {"^\xE2\x82\xACx$", "\xE2", 1}};
    for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
        struct kl_regex *regex = compile(samples[i].pattern);
        struct kl_regex_run *run;
        assert_int_equal(kl_regex_run_open(regex, &run, NULL), KL_OK);
        uint32_t at = kl_regex_run_start(run);
        for (const char *byte = samples[i].begin; *byte != '\0'; byte++)
            at = kl_regex_run_step(run, at, (uint8_t)*byte);
        struct kl_regex_least memo = {0};
        enum kl_status status = KL_OK;
        for (int twice = 0; twice < 2; twice++) {
            uint32_t least = kl_regex_least(&memo, run, at, &status);
            if (least != samples[i].least || status != KL_OK)
                fail_msg("%s behind %s: %u", samples[i].pattern, samples[i].begin, least);
        }
        kl_regex_least_release(&memo);
        kl_regex_run_close(run);
        kl_regex_free(regex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_are_exact),
        cmocka_unit_test(test_products_never_get_stuck),
        cmocka_unit_test(test_an_empty_product_is_none),
        cmocka_unit_test(test_a_large_product_is_refused),
        cmocka_unit_test(test_the_shortest_way_counts_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
