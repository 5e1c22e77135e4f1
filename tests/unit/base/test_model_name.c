#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/model_name.h"

static void test_names(void **state)
{
    (void)state;
    assert_true(kl_model_names_equal("qwen2.5", "qwen2.5"));
    assert_true(kl_model_names_equal("Qwen2.5", "qWEN2.5"));
    assert_true(kl_model_names_equal("qwen2.5:latest", "qwen2.5"));
    assert_true(kl_model_names_equal("qwen2.5", "qwen2.5:LATEST"));
    assert_true(kl_model_names_equal("qwen2.5", "Qwen2.5.GGUF"));
    assert_true(kl_model_names_equal("qwen2.5.gguf:latest", "qwen2.5"));
    assert_false(kl_model_names_equal(".gguf", ""));
    assert_false(kl_model_names_equal("qwen2.5", "qwen2"));
    assert_false(kl_model_names_equal("qwen2.5:q4", "qwen2.5"));
    assert_false(kl_model_names_equal("", "qwen2.5"));
    assert_true(kl_model_names_equal("", ""));
    /* ":latest" alone is a name */
    assert_int_equal(kl_model_name_len(":latest"), strlen(":latest"));
    assert_int_equal(kl_model_name_len("a:latest"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
