/* The names of parts are read as they are written, and nothing else is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/split_name.h"

static void test_a_part_is_read(void **state)
{
    (void)state;
    struct kl_split_name split;
    char name[64], small[20];
    assert_true(kl_split_name_read("dir/m-q4-00002-of-00013.gguf", &split));
    assert_int_equal(split.prefix_len, strlen("dir/m-q4"));
    assert_int_equal(split.number, 2);
    assert_int_equal(split.count, 13);
    assert_true(kl_split_name_write("dir/m-q4-00002-of-00013.gguf", split.prefix_len, 3, 13, name,
                                    sizeof name));
    assert_string_equal(name, "dir/m-q4-00003-of-00013.gguf");
    assert_false(kl_split_name_write("m", 1, 3, 13, small, sizeof small));
}

static void test_all_parts_are_named(void **state)
{
    (void)state;
    struct kl_split_name split;
    assert_true(kl_split_name_read("dir/m-00002-of-00003.gguf", &split));
    char **names = kl_split_name_all("dir/m-00002-of-00003.gguf", &split);
    assert_non_null(names);
    assert_string_equal(names[0], "dir/m-00001-of-00003.gguf");
    assert_string_equal(names[1], "dir/m-00002-of-00003.gguf");
    assert_string_equal(names[2], "dir/m-00003-of-00003.gguf");
    free(names);
}

static void test_other_names_are_not(void **state)
{
    (void)state;
    static const char *const others[] = {
        "",
        "m.gguf",
        "-00001-of-00002.gguf",
        "m-00001-of-00002.bin",
        "m-0001-of-00002.gguf",
        "m-00001-of-0002.gguf",
        "m-00001-of-000002.gguf",
        "m-00000-of-00002.gguf",
        "m-00003-of-00002.gguf",
        "m-00001-of-00001.gguf",
        "m-+0001-of-00002.gguf",
        "m- 0001-of-00002.gguf",
        "m-00001-OF-00002.gguf",
        "m-00001-of-00002.gguf.part",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct kl_split_name split;
        if (kl_split_name_read(others[i], &split))
            fail_msg("%s was read", others[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_part_is_read),
        cmocka_unit_test(test_all_parts_are_named),
        cmocka_unit_test(test_other_names_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
