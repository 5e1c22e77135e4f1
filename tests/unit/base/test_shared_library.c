/* src/base/shared_library.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/shared_library.h"

static void opens_the_first_that_has_all_functions(void **state)
{
    (void)state;
    double (*cosine)(double) = NULL;
    const char *files[] = {"libnot-installed.so.9", "libm.so.6"};
    struct kl_library_function functions[] = {{"cos", &cosine}};
    void *handle = kl_library_open(files, 2, functions, 1);
    assert_non_null(handle);
    assert_true(cosine(0) == 1);
    kl_library_close(handle);
}

static void a_library_without_a_function_does_not_count(void **state)
{
    (void)state;
    void (*one)(void) = NULL, (*other)(void) = NULL;
    const char *files[] = {"libm.so.6"};
    struct kl_library_function functions[] = {{"cos", &one}, {"kl_not_there", &other}};
    assert_null(kl_library_open(files, 1, functions, 2));
    assert_null(kl_library_open(files, 0, functions, 1));
    kl_library_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_the_first_that_has_all_functions),
        cmocka_unit_test(a_library_without_a_function_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
