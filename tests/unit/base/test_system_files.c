/* src/base/system_files.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/system_files.h"
#include "fake_root.h"

static bool read_fake(const char *name, char *text, size_t size)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", fake_root, name);
    return kl_system_text(path, text, size);
}

static void the_whole_text(void **state)
{
    (void)state;
    char text[64];
    fake_file("proc/some", "one\ntwo\n");
    assert_true(read_fake("proc/some", text, sizeof text));
    assert_string_equal(text, "one\ntwo\n");
    fake_file("proc/none", "");
    assert_true(read_fake("proc/none", text, sizeof text));
    assert_string_equal(text, "");
}

static void the_beginning_of_a_long_one(void **state)
{
    (void)state;
    char text[5];
    fake_file("proc/long", "123456789");
    assert_true(read_fake("proc/long", text, sizeof text));
    assert_string_equal(text, "1234");
    assert_true(read_fake("proc/long", text, 1));
    assert_string_equal(text, "");
}

static void unreadable_files(void **state)
{
    (void)state;
    char text[64] = "before";
    assert_false(read_fake("nothing", text, sizeof text));
    assert_string_equal(text, "");
    fake_file("proc/some", "one");
    strcpy(text, "before");
    assert_false(read_fake("proc", text, sizeof text)); /* a directory */
    assert_string_equal(text, "");
}

#define ROOTED(test) cmocka_unit_test_setup_teardown(test, fake_root_make, fake_root_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOTED(the_whole_text),
        ROOTED(the_beginning_of_a_long_one),
        ROOTED(unreadable_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
