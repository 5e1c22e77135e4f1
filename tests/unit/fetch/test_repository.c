/* Names of repositories, and which file one means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fetch/repository.h"

static void test_names(void **state)
{
    (void)state;
    struct kl_repository r;
    assert_true(kl_repository_read("Qwen/Qwen2.5-0.5B-Instruct-GGUF", &r));
    assert_string_equal(r.name, "Qwen/Qwen2.5-0.5B-Instruct-GGUF");
    assert_string_equal(r.quant, "");
    assert_true(kl_repository_read("hf.co/a/b:Q4_K_M", &r));
    assert_string_equal(r.name, "a/b");
    assert_string_equal(r.quant, "Q4_K_M");
    assert_true(kl_repository_read("a/b:LATEST", &r));
    assert_string_equal(r.quant, "");
    static const char *const bad[] = {
        "",      "a",        "/a/b",  "a/",      "a//b",
        "a/b/c", "../b",     "a/..",  "./b",     "a/.b",
        "-a/b",  "a/b.gguf", "a/b c", "a/b:x/y", "a/b:x:y",
        "a/b?x", "a/b%2e",   "~/b",   "a\\b/c",  "a/b:0123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (kl_repository_read(bad[i], &r))
            fail_msg("%s was read", bad[i]);
    }
}

struct names {
    const char *const *items;
};

static const char *name_of(const void *context, size_t i)
{
    return ((const struct names *)context)->items[i];
}

static const char *choose(const char *quant, const char *const *items, size_t n)
{
    struct names names = {items};
    size_t i = kl_repository_choose(quant, n, name_of, &names);
    return i < n ? items[i] : "none";
}

static void test_the_file_of_a_quant(void **state)
{
    (void)state;
    static const char *const files[] = {"mmproj-m-Q4_K_M.gguf",
                                        "m-IQ4_NL.gguf",
                                        "m-q4_0.gguf",
                                        "m-Q4_K_S.gguf",
                                        "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf",
                                        "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf",
                                        "m.Q8_0.gguf"};
    const size_t n = sizeof files / sizeof files[0];
    assert_string_equal(choose("", files, n), files[5]);
    assert_string_equal(choose("q4_k_m", files, n), files[5]);
    assert_string_equal(choose("Q8_0", files, n), files[6]);
    assert_string_equal(choose("Q4_0", files, n), files[2]);
    assert_string_equal(choose("Q4_NL", files, n), "none"); /* not the end of IQ4_NL */
    assert_string_equal(choose("Q4_K", files, n), "none");
    assert_string_equal(choose("", files, 4), files[1]); /* no usual one */
    assert_string_equal(choose("", files, 1), "none");
    assert_string_equal(choose("", files, 0), "none");
}

static void test_what_does_not_run(void **state)
{
    (void)state;
    assert_null(kl_repository_unsupported("m-IQ4_XS.gguf"));
    assert_non_null(kl_repository_unsupported("a/m-iq2_xxs.gguf"));
    assert_non_null(kl_repository_unsupported("mmproj-F16.gguf"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_the_file_of_a_quant),
        cmocka_unit_test(test_what_does_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
