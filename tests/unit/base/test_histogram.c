/* src/base/histogram.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/histogram.h"

static const double bounds[] = {1, 2, 4};

static void an_empty_histogram_has_no_quantile(void **state)
{
    (void)state;
    struct kl_histogram h;
    kl_histogram_init(&h, bounds, 3);
    assert_int_equal(h.count, 0);
    assert_float_equal(kl_histogram_quantile(&h, 0.5), 0, 0);
}

static void a_bound_belongs_to_the_bucket_below(void **state)
{
    (void)state;
    static const double values[] = {0, 1, 1.5, 2, 2.5, 4, 4.5, 1e9};
    struct kl_histogram h;
    kl_histogram_init(&h, bounds, 3);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        kl_histogram_add(&h, values[i]);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(h.counts[i], 2);
    assert_int_equal(h.count, 8);
    assert_float_equal(h.sum, 1e9 + 16, 0);
}

static void quantiles_lie_evenly_in_a_bucket(void **state)
{
    (void)state;
    struct kl_histogram h;
    kl_histogram_init(&h, bounds, 3);
    for (int i = 0; i < 4; i++)
        kl_histogram_add(&h, 3);
    assert_float_equal(kl_histogram_quantile(&h, 0.5), 3, 1e-12);
    assert_float_equal(kl_histogram_quantile(&h, 1), 4, 1e-12);
    for (int i = 0; i < 4; i++)
        kl_histogram_add(&h, 0.1);
    assert_float_equal(kl_histogram_quantile(&h, 0.25), 0.5, 1e-12);
    assert_float_equal(kl_histogram_quantile(&h, 0.5), 1, 1e-12);
    assert_float_equal(kl_histogram_quantile(&h, 0.75), 3, 1e-12);
}

static void values_beyond_the_last_bound_count_as_it(void **state)
{
    (void)state;
    struct kl_histogram h;
    kl_histogram_init(&h, bounds, 3);
    kl_histogram_add(&h, 100);
    assert_float_equal(kl_histogram_quantile(&h, 0.5), 4, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_has_no_quantile),
        cmocka_unit_test(a_bound_belongs_to_the_bucket_below),
        cmocka_unit_test(quantiles_lie_evenly_in_a_bucket),
        cmocka_unit_test(values_beyond_the_last_bound_count_as_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
