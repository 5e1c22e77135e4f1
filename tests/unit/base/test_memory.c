/* src/base/memory.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "fake_root.h"

static struct kl_memory read_fake(void)
{
    struct kl_memory m;
    kl_memory_read(fake_root, &m);
    return m;
}

static void nothing_known(void **state)
{
    (void)state;
    struct kl_memory m = read_fake();
    assert_true(m.total == 0 && m.available == 0 && m.limit == 0);
    assert_true(kl_memory_room(&m) == 0);
}

static void available_memory(void **state)
{
    (void)state;
    fake_file("proc/meminfo", "MemTotal:  2000 kB\nMemFree:  10 kB\nMemAvailable:  1500 kB\n");
    struct kl_memory m = read_fake();
    assert_true(m.total == 2000 * 1024 && m.available == 1500 * 1024 && m.limit == 0);
    assert_true(kl_memory_room(&m) == 1500 * 1024);
}

static void the_smallest_limit_counts(void **state)
{
    (void)state;
    fake_file("proc/meminfo", "MemAvailable:  1500 kB\n");
    fake_file("proc/self/cgroup", "0::/a\n");
    fake_file("sys/fs/cgroup/a/memory.max", "max\n");
    assert_true(read_fake().limit == 0);
    fake_file("sys/fs/cgroup/memory.max", "1000000\n");
    assert_true(read_fake().limit == 1000000);
    fake_file("sys/fs/cgroup/a/memory.max", "3000000\n");
    struct kl_memory m = read_fake();
    assert_true(m.limit == 1000000 && kl_memory_room(&m) == 1000000);
    fake_file("sys/fs/cgroup/memory.max", "9000000\n");
    m = read_fake();
    assert_true(m.limit == 3000000 && kl_memory_room(&m) == 1500 * 1024);
}

static void limit_of_version_1(void **state)
{
    (void)state;
    fake_file("proc/self/cgroup", "4:memory:/x\n");
    fake_file("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(read_fake().limit == 0);
    fake_file("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
    assert_true(read_fake().limit == 536870912);
}

static void resident_memory(void **state)
{
    (void)state;
    const size_t size = 32 << 20;
    struct kl_resident before = kl_memory_resident();
    assert_true(before.all > 0 && before.anonymous <= before.all && before.peak >= before.all);
    char *block = malloc(size);
    assert_non_null(block);
    memset(block, 1, size);
    struct kl_resident after = kl_memory_resident();
    assert_true(after.anonymous >= before.anonymous + size - (1 << 20));
    assert_true(after.peak >= before.all + size - (1 << 20));
    free(block);
}

static void whole_pages(void **state)
{
    (void)state;
    static const size_t pages[] = {4 << 10, 16 << 10, 64 << 10};
    for (size_t i = 0; i < 3; i++) {
        const size_t page = pages[i];
        assert_int_equal(kl_memory_whole_pages(0, page), 0);
        assert_int_equal(kl_memory_whole_pages(1, page), page);
        assert_int_equal(kl_memory_whole_pages(page, page), page);
        assert_int_equal(kl_memory_whole_pages(5 * page + 1, page), 6 * page);
    }
    /* 32 tokens of a 0.5B model in int8: nothing, 2 % and 25 % more than their 204 KiB */
    assert_int_equal(kl_memory_whole_pages(204 << 10, pages[0]), 204 << 10);
    assert_int_equal(kl_memory_whole_pages(204 << 10, pages[1]), 208 << 10);
    assert_int_equal(kl_memory_whole_pages(204 << 10, pages[2]), 256 << 10);
}

static void the_page_size_is_that_of_the_system(void **state)
{
    (void)state;
    size_t page = kl_memory_page();
    assert_true(page >= 4096 && (page & (page - 1)) == 0);
    /* two mappings of a byte each lie at least a page apart */
    char *maps[2];
    for (size_t i = 0; i < 2; i++) {
        maps[i] = mmap(NULL, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(maps[i], MAP_FAILED);
        assert_int_equal((uintptr_t)maps[i] % page, 0);
    }
    assert_true((size_t)llabs(maps[0] - maps[1]) >= page);
    munmap(maps[0], 1);
    munmap(maps[1], 1);
}

/* Reads whether the mapping at an address has the flag "hg". */
static bool prefers_huge_pages(const void *mapping)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    assert_non_null(smaps);
    char line[4096], begin[32];
    snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)mapping);
    bool here = false, found = false;
    while (!found && fgets(line, sizeof line, smaps) != NULL) {
        here = here || strncmp(line, begin, strlen(begin)) == 0;
        found = here && strncmp(line, "VmFlags:", 8) == 0;
    }
    fclose(smaps);
    assert_true(found);
    return strstr(line, " hg") != NULL;
}

static void huge_pages_are_a_wish(void **state)
{
    (void)state;
    const size_t size = 4 << 20;
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_false(prefers_huge_pages(memory));
    kl_memory_prefer_huge_pages(memory, size);
    bool has_them = access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
    assert_int_equal(prefers_huge_pages(memory), has_them && kl_memory_page() == 4096);
    memset(memory, 7, size);
    assert_int_equal(memory[size - 1], 7);
    munmap(memory, size);
    kl_memory_prefer_huge_pages(NULL, 0);
}

#define ROOTED(test) cmocka_unit_test_setup_teardown(test, fake_root_make, fake_root_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOTED(nothing_known),
        ROOTED(available_memory),
        ROOTED(the_smallest_limit_counts),
        ROOTED(limit_of_version_1),
        cmocka_unit_test(resident_memory),
        cmocka_unit_test(whole_pages),
        cmocka_unit_test(the_page_size_is_that_of_the_system),
        cmocka_unit_test(huge_pages_are_a_wish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
