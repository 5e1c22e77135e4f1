/* src/base/mapped_file.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mapped_file.h"

static char directory[] = "/tmp/kinglet-test-XXXXXX";
static char path[100];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static void write_file(const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void maps_the_content(void **state)
{
    (void)state;
    struct kl_mapped_file file;
    struct stat st;
    write_file("hello", 5);
    assert_int_equal(kl_mapped_file_open(&file, path, NULL), KL_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(file.size, 5);
    assert_memory_equal(file.data, "hello", 5);
    assert_string_equal(file.path, path);
    assert_true(file.identity.modified ==
                (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    kl_mapped_file_close(&file);
    assert_null(file.data);
    kl_mapped_file_close(&file); /* closing twice does no harm */
    unlink(path);
}

static void copies_a_part_without_the_mapping(void **state)
{
    (void)state;
    struct kl_mapped_file file;
    char copy[6] = "......";
    write_file("0123456789", 10);
    assert_int_equal(kl_mapped_file_open(&file, path, NULL), KL_OK);
    assert_true(kl_mapped_file_read(&file, 3, 5, copy));
    assert_memory_equal(copy, "34567.", 6);
    assert_true(kl_mapped_file_read(&file, 10, 0, copy));
    assert_int_equal(truncate(path, 4), 0); /* by another process, meanwhile */
    assert_false(kl_mapped_file_read(&file, 3, 5, copy));
    kl_mapped_file_close(&file);
    unlink(path);
}

static void an_empty_file_has_no_data(void **state)
{
    (void)state;
    struct kl_mapped_file file;
    write_file("", 0);
    assert_int_equal(kl_mapped_file_open(&file, path, NULL), KL_OK);
    assert_int_equal(file.size, 0);
    assert_null(file.data);
    kl_mapped_file_will_need(&file, 0, 10);
    kl_mapped_file_close(&file);
    unlink(path);
}

static void hints_leave_the_content_alone(void **state)
{
    (void)state;
    static uint8_t data[100000];
    struct kl_mapped_file file;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    write_file(data, sizeof data);
    assert_int_equal(kl_mapped_file_open(&file, path, NULL), KL_OK);
    static const size_t places[] = {0, 1, 4095, 4096, 99999, 100000, SIZE_MAX};
    for (size_t i = 0; i < 7; i++) {
        for (size_t k = 0; k < 7; k++) {
            kl_mapped_file_will_need(&file, places[i], places[k]);
            kl_mapped_file_dont_need(&file, places[i], places[k]);
        }
    }
    assert_memory_equal(file.data, data, sizeof data);
    kl_mapped_file_close(&file);
    unlink(path);
}

/* For the handler of SIGBUS. */
static void finds_the_file_of_an_address(void **state)
{
    (void)state;
    struct kl_mapped_file a, b;
    struct kl_error err;
    write_file("content", 7);
    assert_int_equal(kl_mapped_file_open(&a, path, &err), KL_OK);
    assert_int_equal(kl_mapped_file_open(&b, path, &err), KL_OK);
    assert_ptr_equal(kl_mapped_file_name_at(a.data), a.path);
    assert_ptr_equal(kl_mapped_file_name_at(a.data + a.size - 1), a.path);
    assert_ptr_equal(kl_mapped_file_name_at(b.data), b.path);
    assert_null(kl_mapped_file_name_at(a.data + a.size));
    assert_null(kl_mapped_file_name_at(&a));
    assert_null(kl_mapped_file_name_at(NULL));
    const void *was = a.data;
    kl_mapped_file_close(&a);
    assert_null(kl_mapped_file_name_at(was));
    assert_ptr_equal(kl_mapped_file_name_at(b.data), b.path);
    kl_mapped_file_close(&b);
    /* entries are reused, and files without an entry work all the same */
    struct kl_mapped_file many[KL_MAX_MAPPED_FILES + 2];
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES + 2; i++)
        assert_int_equal(kl_mapped_file_open(&many[i], path, &err), KL_OK);
    assert_ptr_equal(kl_mapped_file_name_at(many[KL_MAX_MAPPED_FILES - 1].data),
                     many[KL_MAX_MAPPED_FILES - 1].path);
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES + 2; i++)
        kl_mapped_file_close(&many[i]);
    assert_int_equal(kl_mapped_file_open(&a, path, &err), KL_OK);
    assert_ptr_equal(kl_mapped_file_name_at(a.data), a.path);
    kl_mapped_file_close(&a);
    unlink(path);
}

static void refuses_directories_and_devices(void **state)
{
    (void)state;
    struct kl_mapped_file file;
    struct kl_error err = {0};
    assert_int_equal(kl_mapped_file_open(&file, path, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(kl_mapped_file_open(&file, directory, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, directory));
    assert_int_equal(kl_mapped_file_open(&file, "/dev/null", &err), KL_ERR_INVALID);
    /* it has no writer: an open that waits for one would wait for ever */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(kl_mapped_file_open(&file, path, &err), KL_ERR_INVALID);
    unlink(path);
    assert_null(file.data);
    assert_null(file.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_the_content),
        cmocka_unit_test(copies_a_part_without_the_mapping),
        cmocka_unit_test(an_empty_file_has_no_data),
        cmocka_unit_test(hints_leave_the_content_alone),
        cmocka_unit_test(finds_the_file_of_an_address),
        cmocka_unit_test(refuses_directories_and_devices),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
