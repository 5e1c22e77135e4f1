#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "console/nearest.h"

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"serve", "chat", "pull", "bench", "tokenize", "eval"};
    static const struct {
        const char *word, *best;
    } cases[] = {
        {"sevre", "serve"}, {"chta", "chat"},    {"cht", "chat"},
        {"pul", "pull"},    {"tok", "tokenize"}, {"tokenise", "tokenize"},
        {"cook", NULL},     {"zzzzz", NULL},     {"", NULL},
        {"x", NULL},        {"benhc", "bench"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_nearest nearest;
        kl_nearest_init(&nearest, cases[i].word);
        for (size_t j = 0; j < sizeof names / sizeof names[0]; j++)
            kl_nearest_consider(&nearest, names[j]);
        if (cases[i].best == NULL)
            assert_null(nearest.best);
        else
            assert_string_equal(nearest.best, cases[i].best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
