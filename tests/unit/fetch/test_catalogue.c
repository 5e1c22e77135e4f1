#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/paths.h"
#include "fetch/catalogue.h"

static void test_rows(void **state)
{
    (void)state;
    const struct kl_model_entry *e;
    size_t n = 0;
    for (; (e = kl_catalogue_at(n)) != NULL; n++) {
        assert_true(kl_model_name_valid(e->name));
        assert_ptr_equal(kl_catalogue_find(e->name), e);
        assert_int_equal(strlen(e->sha256), 64);
        assert_int_equal(strspn(e->sha256, "0123456789abcdef"), 64);
        assert_true(e->repository != NULL || e->n_parts > 0);
        assert_int_equal(e->repository == NULL, e->revision == NULL);
        uint64_t sum = 0;
        for (size_t i = 0; i < e->n_parts; i++) {
            sum += strtoull(e->parts[i].bytes, NULL, 10);
            assert_non_null(strstr(e->parts[i].requirement, "=="));
        }
        if (e->n_parts > 0)
            assert_true(sum == e->bytes);
    }
    assert_int_equal(n, 3);
    assert_string_equal(kl_catalogue_at(0)->name, "qwen2.5-0.5b-instruct");
    assert_string_equal(kl_catalogue_substitute()->name, "qwen2.5-coder-0.5b-instruct");
    assert_null(kl_catalogue_find("qwen2.5"));
}

static void test_names(void **state)
{
    (void)state;
    assert_true(kl_model_name_valid("my-model_1.5b"));
    static const char *const bad[] = {"", ".", "..", ".hidden", "-x", "a/b", "a b", "a\n", "\xe4"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kl_model_name_valid(bad[i]));
    char longest[102];
    memset(longest, 'a', sizeof longest - 1);
    longest[100] = '\0';
    assert_true(kl_model_name_valid(longest));
    longest[100] = 'a';
    longest[101] = '\0';
    assert_false(kl_model_name_valid(longest));
}

static void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_locate(void **state)
{
    (void)state;
    struct kl_error err;
    struct kl_model_location location;
    char root[] = "/tmp/kl_catalogue_XXXXXX", models[PATH_MAX], path[PATH_MAX];
    assert_non_null(mkdtemp(root));
    setenv("XDG_CACHE_HOME", root, 1);
    unsetenv("KINGLET_MODEL");
    assert_int_equal(kl_cache_path("models", models, sizeof models, &err), KL_OK);

    /* the cache is empty: the default is in the catalogue, and the text says how to download it */
    assert_int_equal(kl_model_locate(NULL, &location, &err), KL_ERR_NOT_FOUND);
    assert_ptr_equal(location.entry, kl_catalogue_at(0));
    assert_non_null(strstr(err.text, "'kinglet pull qwen2.5-0.5b-instruct'"));

    /* a file of the wrong size is not the model */
    assert_int_equal(kl_make_directories(models, &err), KL_OK);
    assert_int_equal(kl_model_path(kl_catalogue_at(1), path, &err), KL_OK);
    put_file(path, "short");
    assert_int_equal(kl_model_locate(kl_catalogue_at(1)->name, &location, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "has 5 bytes"));
    assert_non_null(strstr(err.text, "491400064"));
    assert_int_equal(truncate(path, (off_t)kl_catalogue_at(1)->bytes), 0); /* sparse */
    assert_int_equal(kl_model_locate(kl_catalogue_at(1)->name, &location, &err), KL_OK);
    assert_string_equal(location.path, path);
    unlink(path);

    /* a name of the user's own */
    assert_int_equal(kl_model_locate("mine", &location, &err), KL_ERR_NOT_FOUND);
    assert_null(location.entry);
    assert_int_equal(kl_model_path_of_name("mine", path, &err), KL_OK);
    put_file(path, "x");
    assert_int_equal(kl_model_locate("mine", &location, &err), KL_OK);
    assert_string_equal(location.name, "mine");
    /* and the same file as a path, and through the environment */
    assert_int_equal(kl_model_locate(path, &location, &err), KL_OK);
    assert_string_equal(location.name, "mine");
    setenv("KINGLET_MODEL", "mine", 1);
    assert_int_equal(kl_model_locate(NULL, &location, &err), KL_OK);
    assert_string_equal(location.path, path);
    unlink(path);

    assert_int_equal(kl_model_locate("qwen2.5-0.5b-instrcut", &location, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "did you mean qwen2.5-0.5b-instruct?"));
    assert_int_equal(kl_model_locate("../../etc/passwd.gguf", &location, &err), KL_ERR_NOT_FOUND);
    assert_int_equal(kl_model_locate("a b", &location, &err), KL_ERR_INVALID);

    rmdir(models);
    snprintf(path, sizeof path, "%s/kinglet", root);
    rmdir(path);
    rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_locate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
