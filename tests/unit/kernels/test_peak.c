#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/peak.h"

/* The loops of a tier; NULL if this CPU lacks it. */
static const struct kl_peak *usable_peak(size_t tier)
{
    const struct kl_kernels *kernels;
    const struct kl_peak *peak = kl_peak_of(kl_kernels_at(tier));
    assert_string_equal(peak->name, kl_kernels_at(tier)->name);
    return kl_kernels_select(peak->name, &kernels, NULL) == KL_OK ? peak : NULL;
}

/* A loop that leaves something out, or that the compiler folds, would show in the sums. */
static void test_read_reads_every_word(void **state)
{
    (void)state;
    static uint64_t words[1024 + 1];
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        words[i] = random = random * 6364136223846793005u + 1442695040888963407u;
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        const struct kl_peak *peak = usable_peak(tier);
        for (size_t n = 0; peak != NULL && n <= 1024; n += 32) {
            uint64_t expected = 0;
            for (size_t i = 0; i < n; i++)
                expected += words[i];
            assert_int_equal(peak->read(words, 8 * n), expected);
        }
    }
}

static void test_multiply_counts_every_product(void **state)
{
    (void)state;
    static const size_t steps[] = {0, 1, 2, 255, 16383};
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        const struct kl_peak *peak = usable_peak(tier);
        for (size_t i = 0; peak != NULL && i < sizeof steps / sizeof steps[0]; i++)
            assert_int_equal(peak->multiply(steps[i]), steps[i] * KL_PEAK_MACS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_reads_every_word),
        cmocka_unit_test(test_multiply_counts_every_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
