/* Log-probabilities against a softmax in long double over a sorted vocabulary. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/logprobs.h"
#include "engine/sampler.h"

enum { MOST = 2000 };

static const float *sorted_by;

static int by_logit(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    float p = sorted_by[x], q = sorted_by[y];
    if (p != q)
        return p < q ? 1 : -1;
    return (x > y) - (x < y);
}

static void expect_logprobs(const float *logits, size_t n, int32_t token, size_t n_top)
{
    struct kl_logprob found[1 + KL_MAX_TOP_LOGPROBS];
    int32_t order[MOST];
    size_t n_found = kl_logprobs(logits, n, token, n_top, found);
    assert_int_equal(n_found, 1 + (n_top < n ? n_top : n));
    for (size_t i = 0; i < n; i++)
        order[i] = (int32_t)i;
    sorted_by = logits;
    qsort(order, n, sizeof *order, by_logit);
    long double sum = 0.0L, best = (long double)logits[order[0]];
    for (size_t i = n; i > 0; i--)
        sum += expl((long double)logits[order[i - 1]] - best);
    assert_int_equal(found[0].id, token);
    for (size_t i = 0; i < n_found; i++) {
        if (i > 0)
            assert_int_equal(found[i].id, order[i - 1]);
        long double expected = (long double)logits[found[i].id] - best - logl(sum);
        assert_true(fabsl((long double)found[i].value - expected) <= 1e-12L);
        assert_true(found[i].value <= 0.0);
    }
}

static void test_equals_a_softmax(void **state)
{
    (void)state;
    static float logits[MOST];
    struct kl_random r;
    kl_random_init(&r, 5);
    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + kl_random_next(&r) % (round % 2 == 0 ? 30 : MOST);
        double scale = round % 3 == 0 ? 200.0 : 20.0;
        for (size_t i = 0; i < n; i++) {
            logits[i] = (float)(scale * (kl_random_unit(&r) - 0.5));
            if (round % 5 == 0)
                logits[i] = roundf(logits[i]);
        }
        expect_logprobs(logits, n, (int32_t)(kl_random_next(&r) % n),
                        kl_random_next(&r) % (KL_MAX_TOP_LOGPROBS + 1));
    }
}

static void test_all_probabilities_add_up(void **state)
{
    (void)state;
    static float logits[MOST];
    double sum = 0.0;
    for (size_t i = 0; i < MOST; i++)
        logits[i] = (float)(i * 7919 % 1000) / 100.0f;
    for (int32_t token = 0; token < MOST; token++) {
        struct kl_logprob one;
        assert_int_equal(kl_logprobs(logits, MOST, token, 0, &one), 1);
        sum += exp(one.value);
    }
    assert_true(fabs(sum - 1.0) < 1e-12);
}

static void test_no_numbers(void **state)
{
    (void)state;
    struct kl_logprob found[4];
    const float some[] = {NAN, 1, -INFINITY, 1};
    assert_int_equal(kl_logprobs(some, 4, 0, 3, found), 4);
    assert_true(found[0].value == -INFINITY && found[0].id == 0);
    assert_true(found[1].id == 1 && fabs(found[1].value - log(0.5)) < 1e-15);
    assert_true(found[2].id == 3 && found[3].value == -INFINITY);
    const float top[] = {INFINITY, 1, -INFINITY, INFINITY};
    assert_int_equal(kl_logprobs(top, 4, 3, 1, found), 2);
    assert_true(found[0].id == 3 && fabs(found[0].value - log(0.5)) < 1e-15);
    assert_true(found[1].id == 0);
    const float none[] = {NAN, -INFINITY, NAN, NAN};
    assert_int_equal(kl_logprobs(none, 4, 2, 0, found), 1);
    assert_true(fabs(found[0].value - log(0.25)) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_a_softmax),
        cmocka_unit_test(test_all_probabilities_add_up),
        cmocka_unit_test(test_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
