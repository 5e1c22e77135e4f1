#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/bench.h"

static void test_percentiles(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        double values[5], p10, median, p90;
    } cases[] = {
        {1, {7}, 7, 7, 7},
        {2, {3, 1}, 1.2, 2, 2.8},
        {3, {30, 10, 20}, 12, 20, 28},
        {4, {1, 4, 3, 2}, 1.3, 2.5, 3.7},
        {5, {5, 4, 3, 2, 1}, 1.4, 3, 4.6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double values[5];
        for (size_t k = 0; k < cases[i].n; k++)
            values[k] = cases[i].values[k];
        struct kl_bench_summary s = kl_bench_summarise(values, cases[i].n);
        assert_int_equal(s.n, cases[i].n);
        assert_float_equal(s.p10, cases[i].p10, 1e-12);
        assert_float_equal(s.median, cases[i].median, 1e-12);
        assert_float_equal(s.p90, cases[i].p90, 1e-12);
    }
    assert_int_equal(kl_bench_summarise(NULL, 0).n, 0);
}

/* Each number of threads is measured separately, up to the requested one. */
static void test_machine(void **state)
{
    (void)state;
    struct kl_bench_machine machine = {0};
    const struct kl_kernels *kernels;
    struct kl_error err;
    assert_int_equal(kl_kernels_select("auto", &kernels, &err), KL_OK);
    assert_int_equal(kl_bench_measure_machine(&machine, kernels, 3, &err), KL_OK);
    assert_int_equal(machine.n_points, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(machine.points[i].threads, i + 1);
        assert_true(machine.points[i].read_gb > 0);
        assert_true(machine.points[i].int8_gmac > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
