/* src/http/conditions.c: lists of entity tags, as RFC 9110 has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/conditions.h"

static void tags_are_found_in_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        bool strongly, weakly;
    } cases[] = {
        {"\"a\"", true, true},
        {"*", true, true},
        {"W/\"a\"", false, true},
        {"\"b\", \"a\"", true, true},
        {"\"b\",\"a\"", true, true},
        {" ,, \"b\" ,\t\"a\" ,", true, true},
        {"W/\"b\", W/\"a\"", false, true},
        {"\"b, \", \"a\"", true, true}, /* a comma in a tag */
        {"", false, false},
        {"a", false, false},
        {"\"a", false, false},
        {"a\"", false, false},
        {"\"ab\"", false, false},
        {"\"\"", false, false},
        {"w/\"a\"", false, false}, /* it is case-sensitive */
        {"W/a", false, false},
        {"W/", false, false},
        {"*, \"b\"", false, false}, /* a star stands alone */
        {"b, \"a\"", false, false}, /* nothing is read behind a fault */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (kl_etag_listed(cases[i].list, "a", false) != cases[i].strongly ||
            kl_etag_listed(cases[i].list, "a", true) != cases[i].weakly)
            fail_msg("%s", cases[i].list);
        assert_false(kl_etag_listed(cases[i].list, NULL, false));
        assert_false(kl_etag_listed(cases[i].list, NULL, true));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_are_found_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
