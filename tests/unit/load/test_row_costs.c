#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../engine/tiny_model.h"
#include "load/row_costs.h"

static bool near(float found, double wanted)
{
    return found > wanted - 1e-4 && found < wanted + 1e-4;
}

static void test_costs_between_sizes_are_on_a_line(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 4, 8, KL_PASS_COSTS};
    static const double seconds[] = {0.5, 0.6, 0.8, 1.2, 2.0};
    struct kl_pass_costs costs;
    kl_row_costs_of(sizes, seconds, 5, &costs);
    for (size_t i = 0; i < KL_PASS_COSTS; i++)
        assert_true(near(costs.cost[i], 1.0 + 0.2 * (double)i));
}

/* Eight rows that were measured as faster than four were not: they cost as much. */
static void test_more_rows_never_cost_less(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4, 8, KL_PASS_COSTS};
    static const double seconds[] = {1.0, 1.5, 1.4, 3.5};
    struct kl_pass_costs costs;
    kl_row_costs_of(sizes, seconds, 4, &costs);
    assert_true(near(costs.cost[3], 1.5) && near(costs.cost[7], 1.5));
    assert_true(near(costs.cost[8], 1.75) && near(costs.cost[KL_PASS_COSTS - 1], 3.5));
    for (size_t i = 1; i < KL_PASS_COSTS; i++)
        assert_true(costs.cost[i] >= costs.cost[i - 1]);
}

static void test_texts_of_costs(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "1 2 3",
        "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 x",
        "1 2 1.5 3 3 3 3 3 3 3 3 3 3 3 3 3",
        "0.5 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 nan",
        "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1e30",
    };
    struct kl_pass_costs costs = {0}, copy;
    char text[256];
    kl_row_costs_format(&kl_pass_costs_usual, text, sizeof text);
    assert_true(kl_row_costs_parse(text, &costs));
    assert_memory_equal(&costs, &kl_pass_costs_usual, sizeof costs);
    copy = costs;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(kl_row_costs_parse(wrong[i], &costs));
    assert_memory_equal(&costs, &copy, sizeof costs);
}

static struct kl_pass_costs choose(const struct tiny *tiny, bool measure)
{
    struct kl_error err;
    struct kl_pass_costs costs = {0};
    struct kl_cpus cpus = {.threads = 1, .cores = 1, .allowed = 1, .model = "a CPU"};
    const struct kl_threads threads = {1, 1};
    tiny_check(kl_row_costs_choose(tiny->model, &cpus, threads, measure, &costs, &err), &err);
    return costs;
}

/* Where other programs use the CPUs the usual costs are taken, and the next start measures again.
 */
static void test_measured_costs_are_kept(void **state)
{
    (void)state;
    char dir[] = "/tmp/kl_row_costs_XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("XDG_CACHE_HOME", dir, 1), 0);
    struct tiny tiny;
    tiny_open(&tiny);
    struct kl_pass_costs usual = choose(&tiny, false);
    assert_memory_equal(&usual, &kl_pass_costs_usual, sizeof usual);
    struct kl_pass_costs measured = choose(&tiny, true), again = choose(&tiny, true);
    bool was_measured = memcmp(&measured, &usual, sizeof usual) != 0;
    for (size_t i = 0; i < KL_PASS_COSTS && was_measured; i++)
        assert_true(again.cost[i] > measured.cost[i] - 0.001f &&
                    again.cost[i] < measured.cost[i] + 0.001f); /* three digits are kept */
    struct kl_pass_costs kept = choose(&tiny, false);
    assert_memory_equal(&kept, was_measured ? &again : &kept, sizeof kept);
    tiny_close(&tiny);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_costs_between_sizes_are_on_a_line),
        cmocka_unit_test(test_more_rows_never_cost_less),
        cmocka_unit_test(test_texts_of_costs),
        cmocka_unit_test(test_measured_costs_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
