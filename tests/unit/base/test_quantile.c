#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/quantile.h"

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-12) /* cmocka compares as float */

static void test_values_are_sorted(void **state)
{
    (void)state;
    double values[] = {3, -1, 2, 2, 1e9, 0};
    const double sorted[] = {-1, 0, 2, 2, 3, 1e9};
    kl_sort_values(values, 6);
    for (size_t i = 0; i < 6; i++)
        assert_near(values[i], sorted[i]);
    kl_sort_values(NULL, 0);
}

static void test_a_quantile_lies_between_two_values(void **state)
{
    (void)state;
    const double values[] = {1, 2, 4, 8};
    assert_near(kl_quantile(values, 4, 0), 1);
    assert_near(kl_quantile(values, 4, 1), 8);
    assert_near(kl_quantile(values, 4, 0.5), 3);
    assert_near(kl_quantile(values, 4, 0.9), 4 + 0.7 * 4);
    assert_near(kl_quantile(values, 3, 0.5), 2);
}

static void test_one_value_is_every_quantile(void **state)
{
    (void)state;
    const double value = 7;
    assert_near(kl_quantile(&value, 1, 0), 7);
    assert_near(kl_quantile(&value, 1, 0.5), 7);
    assert_near(kl_quantile(&value, 1, 1), 7);
    assert_near(kl_nearest_rank(&value, 1, 1), 7);
    assert_near(kl_nearest_rank(&value, 1, 100), 7);
}

static void test_the_nearest_rank_is_one_of_the_values(void **state)
{
    (void)state;
    const double values[] = {1, 2, 4, 8};
    assert_near(kl_nearest_rank(values, 4, 25), 1);
    assert_near(kl_nearest_rank(values, 4, 26), 2);
    assert_near(kl_nearest_rank(values, 4, 50), 2);
    assert_near(kl_nearest_rank(values, 4, 51), 4);
    assert_near(kl_nearest_rank(values, 4, 99), 8);
    assert_near(kl_nearest_rank(values, 4, 100), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_sorted),
        cmocka_unit_test(test_a_quantile_lies_between_two_values),
        cmocka_unit_test(test_one_value_is_every_quantile),
        cmocka_unit_test(test_the_nearest_rank_is_one_of_the_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
