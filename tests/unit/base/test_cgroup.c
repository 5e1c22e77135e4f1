/* src/base/cgroup.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cgroup.h"
#include "fake_root.h"

struct seen {
    char text[4096];
};

static void note(void *context, const char *directory)
{
    struct seen *seen = context;
    assert_int_equal(strncmp(directory, fake_root, strlen(fake_root)), 0);
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "%s;", directory + strlen(fake_root));
}

static void unified(void **state)
{
    (void)state;
    struct seen seen = {""};
    fake_file("proc/self/cgroup", "0::/user.slice/app\n");
    kl_cgroup_visit(fake_root, "self", "cpu", note, &seen);
    assert_string_equal(seen.text, "/sys/fs/cgroup/user.slice/app;/sys/fs/cgroup/user.slice;"
                                   "/sys/fs/cgroup;");
}

static void one_controller_of_several(void **state)
{
    (void)state;
    struct seen seen = {""};
    fake_file("proc/self/cgroup", "5:cpuset:/x\n4:cpuacct,cpu:/docker/12:3\n3:memory:/\n");
    kl_cgroup_visit(fake_root, "self", "cpu", note, &seen);
    assert_string_equal(seen.text, "/sys/fs/cgroup/cpu/docker/12:3;/sys/fs/cgroup/cpu/docker;"
                                   "/sys/fs/cgroup/cpu;");
    seen.text[0] = '\0';
    kl_cgroup_visit(fake_root, "self", "memory", note, &seen);
    assert_string_equal(seen.text, "/sys/fs/cgroup/memory;");
}

static void none_at_all(void **state)
{
    (void)state;
    struct seen seen = {""};
    kl_cgroup_visit(fake_root, "self", "cpu", note, &seen); /* no such file */
    fake_file("proc/self/cgroup", "nonsense\n\n7:memory\n");
    kl_cgroup_visit(fake_root, "self", "memory", note, &seen);
    assert_string_equal(seen.text, "");
}

static void numbers(void **state)
{
    (void)state;
    double values[2];
    fake_file("two", "50000 100000\n");
    fake_file("max", "max 100000\n");
    fake_file("one", "-1\n");
    assert_int_equal(kl_cgroup_numbers(fake_root, "two", values, 2), 2);
    assert_true(values[0] == 50000 && values[1] == 100000);
    assert_int_equal(kl_cgroup_numbers(fake_root, "two", values, 1), 1);
    assert_int_equal(kl_cgroup_numbers(fake_root, "max", values, 2), 0);
    assert_int_equal(kl_cgroup_numbers(fake_root, "one", values, 2), 1);
    assert_true(values[0] == -1);
    assert_int_equal(kl_cgroup_numbers(fake_root, "absent", values, 2), 0);
}

#define ROOTED(test) cmocka_unit_test_setup_teardown(test, fake_root_make, fake_root_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOTED(unified),
        ROOTED(one_controller_of_several),
        ROOTED(none_at_all),
        ROOTED(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
