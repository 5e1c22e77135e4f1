/* src/base/cpus.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpus.h"
#include "base/pool.h"
#include "fake_root.h"

static cpu_set_t first(size_t n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < n; i++)
        CPU_SET(i, &set);
    return set;
}

static void cpu_file(int cpu, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, name);
    fake_file(path, text);
}

static struct kl_cpus read_first(size_t n)
{
    cpu_set_t set = first(n);
    struct kl_cpus cpus;
    kl_cpus_read(fake_root, &set, &cpus);
    return cpus;
}

static void nothing_known(void **state)
{
    (void)state;
    struct kl_cpus c = read_first(4);
    assert_int_equal(c.allowed, 4);
    assert_int_equal(c.fast, 4);
    assert_int_equal(c.cores, 4);
    assert_int_equal(c.quota, 0);
    assert_int_equal(c.threads, 4);
    assert_string_equal(c.model, "");
}

/* A Raspberry Pi-like board with four fast and four small cores. */
static void slow_cores_are_not_used(void **state)
{
    (void)state;
    char text[200];
    for (int i = 0; i < 8; i++) {
        cpu_file(i, "cpu_capacity", i < 4 ? "414\n" : "1024\n");
        cpu_file(i, "cpufreq/cpuinfo_max_freq", "1800000\n"); /* the capacity decides */
    }
    struct kl_cpus c = read_first(8);
    assert_int_equal(c.allowed, 8);
    assert_int_equal(c.fast, 4);
    assert_int_equal(c.threads, 4);
    assert_string_equal(kl_cpus_text(&c, text, sizeof text), "8 CPUs may be used, 4 of them fast");
    /* if only small ones are allowed, they are the fastest */
    assert_int_equal(read_first(4).fast, 4);
}

/* No capacities: frequencies. Two favoured cores are of the same kind as the others. */
static void frequencies_show_kinds(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++)
        cpu_file(i, "cpufreq/cpuinfo_max_freq",
                 i < 2   ? "5200000\n"
                 : i < 8 ? "5000000\n"
                         : "3900000\n");
    struct kl_cpus c = read_first(12);
    assert_int_equal(c.fast, 8);
    assert_int_equal(c.threads, 8);
}

static void siblings_are_one_core(void **state)
{
    (void)state;
    char text[200];
    for (int i = 0; i < 8; i++) {
        snprintf(text, sizeof text, i < 4 ? "%d,%d\n" : "%d-%d\n", i % 4, i % 4 + 4);
        cpu_file(i, "topology/thread_siblings_list", text);
    }
    struct kl_cpus c = read_first(8);
    assert_int_equal(c.cores, 4);
    assert_int_equal(c.threads, 8);
    assert_string_equal(kl_cpus_text(&c, text, sizeof text), "8 CPUs may be used (4 cores)");
    assert_int_equal(read_first(5).cores, 4);
    /* the first sibling of each core is not allowed */
    cpu_set_t set = first(8);
    CPU_CLR(0, &set);
    kl_cpus_read(fake_root, &set, &c);
    assert_int_equal(c.cores, 4);
}

static void the_smallest_quota_counts(void **state)
{
    (void)state;
    char text[200];
    fake_file("proc/self/cgroup", "0::/a/b\n");
    fake_file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    fake_file("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    struct kl_cpus c = read_first(4);
    assert_int_equal(c.quota, 3);
    assert_int_equal(c.threads, 3);
    assert_string_equal(kl_cpus_text(&c, text, sizeof text), "4 CPUs may be used, CPU time for 3");
    fake_file("sys/fs/cgroup/a/b/cpu.max", "20000 100000\n");
    assert_int_equal(read_first(4).threads, 1);
    fake_file("sys/fs/cgroup/a/b/cpu.max", "900000 100000\n");
    fake_file("sys/fs/cgroup/a/cpu.max", "900000 100000\n");
    c = read_first(4);
    assert_int_equal(c.quota, 0); /* more than the computer has is no limit */
    assert_int_equal(c.threads, 4);
}

static void quota_of_version_1(void **state)
{
    (void)state;
    fake_file("proc/self/cgroup", "2:cpu,cpuacct:/docker/x\n");
    fake_file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
    fake_file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(read_first(4).threads, 2);
    fake_file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(read_first(4).threads, 4);
}

static void names_the_processor(void **state)
{
    (void)state;
    fake_file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags : x\n");
    assert_string_equal(read_first(1).model, "Some CPU @ 2 GHz");
    fake_file("proc/cpuinfo", "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n");
    assert_string_equal(read_first(1).model, "0xd0b");
}

static void this_computer(void **state)
{
    (void)state;
    struct kl_cpus c;
    kl_cpus_read("", NULL, &c);
    assert_in_range(c.threads, 1, KL_POOL_MAX_THREADS);
    assert_true(c.threads <= (size_t)sysconf(_SC_NPROCESSORS_ONLN));
    assert_true(c.cores >= 1 && c.cores <= c.fast && c.fast <= c.allowed);
}

#define ROOTED(test) cmocka_unit_test_setup_teardown(test, fake_root_make, fake_root_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOTED(nothing_known),
        ROOTED(slow_cores_are_not_used),
        ROOTED(frequencies_show_kinds),
        ROOTED(siblings_are_one_core),
        ROOTED(the_smallest_quota_counts),
        ROOTED(quota_of_version_1),
        ROOTED(names_the_processor),
        cmocka_unit_test(this_computer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
