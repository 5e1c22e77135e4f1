#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

static void test_auto_is_the_last_tier_that_this_cpu_has(void **state)
{
    (void)state;
    const struct kl_kernels *best = NULL, *chosen = NULL, *one;
    for (size_t i = 0; kl_kernels_at(i) != NULL; i++)
        if (kl_kernels_select(kl_kernels_at(i)->name, &one, NULL) == KL_OK)
            best = one;
    assert_int_equal(kl_kernels_select("auto", &chosen, NULL), KL_OK);
    assert_ptr_equal(chosen, best);
    assert_int_equal(kl_kernels_select(NULL, &chosen, NULL), KL_OK);
    assert_ptr_equal(chosen, best);
    assert_ptr_equal(kl_kernels_best(true), best);
}

static void test_without_avx512_the_best_other_tier_is_taken(void **state)
{
    (void)state;
    const struct kl_kernels *best = NULL, *one;
    for (size_t i = 0; kl_kernels_at(i) != NULL; i++) {
        assert_int_equal(kl_kernels_at(i)->avx512,
                         strncmp(kl_kernels_at(i)->name, "avx512", 6) == 0);
        if (kl_kernels_select(kl_kernels_at(i)->name, &one, NULL) == KL_OK && !one->avx512)
            best = one;
    }
    assert_ptr_equal(kl_kernels_best(false), best);
}

static void test_a_refusal_names_the_tier_and_the_features_of_the_cpu(void **state)
{
    (void)state;
    const struct kl_kernels *chosen = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_kernels_select("avx9", &chosen, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "\"avx9\""));
    for (size_t i = 0; kl_kernels_at(i) != NULL; i++)
        assert_non_null(strstr(err.text, kl_kernels_at(i)->name));
    for (size_t i = 0; kl_kernels_at(i) != NULL; i++) {
        const char *name = kl_kernels_at(i)->name;
        if (kl_kernels_select(name, &chosen, &err) == KL_OK) {
            assert_string_equal(chosen->name, name);
            continue;
        }
        assert_int_equal(err.status, KL_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, name));
        assert_non_null(strstr(err.text, "this CPU lacks"));
        assert_non_null(strstr(err.text, kl_cpu_features()));
    }
}

/* The --help of --cpu lists exactly the tiers of this program. */
static void test_the_listed_names_are_the_tiers(void **state)
{
    (void)state;
    char names[256] = "";
    for (size_t i = 0; kl_kernels_at(i) != NULL; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                 kl_kernels_at(i)->name);
    }
    assert_string_equal(names, KL_TIER_NAMES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_is_the_last_tier_that_this_cpu_has),
        cmocka_unit_test(test_without_avx512_the_best_other_tier_is_taken),
        cmocka_unit_test(test_the_listed_names_are_the_tiers),
        cmocka_unit_test(test_a_refusal_names_the_tier_and_the_features_of_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
