#include "grammar/regex.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "failing_memory.h"

/* Compiles and follows a text; the status that came first. */
static enum kl_status try_pattern(const char *pattern)
{
    struct kl_regex *regex;
    struct kl_regex_run *run;
    enum kl_status status =
        kl_regex_compile(pattern, strlen(pattern), KL_REGEX_SEARCH, &regex, NULL);
    if (status != KL_OK)
        return status;
    status = kl_regex_run_open(regex, &run, NULL);
    if (status == KL_OK) {
        uint32_t state = kl_regex_run_start(run);
        for (int i = 0; i < 200; i++)
            state = kl_regex_run_step(run, state, (uint8_t) "abcab"[i % 5]);
        status = kl_regex_run_failure(run);
        if (status != KL_OK)
            assert_int_equal(state, KL_REGEX_DEAD);
        kl_regex_run_close(run);
    }
    kl_regex_free(regex);
    return status;
}

static void each_failed_allocation_is_reported(void **state)
{
    (void)state;
    static const char *const patterns[] = {"^(a|b{2,9}[^x-z]*)+.{1,90}c\\d$",
                                           "^(?!.*x)(?=.*c.{0,3}$)(?:[a-c](?!d)){20,}$"};
    for (size_t i = 0; i < 2; i++) {
        fail_at(-1, false);
        assert_int_equal(try_pattern(patterns[i]), KL_OK);
        long n = fail_no_more();
        assert_true(n > 10);
        for (long k = 0; k < n; k++) {
            fail_at(k, false);
            enum kl_status status = try_pattern(patterns[i]);
            fail_no_more();
            assert_int_equal(status, KL_ERR_MEMORY);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_failed_allocation_is_reported)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
