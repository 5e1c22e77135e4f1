#include "base/memory.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/system_files.h"

/* In v1 "no limit" is the largest number of whole pages that fits into 63 bits. */
#define NO_LIMIT 9.0e18

static void see_limit(void *context, const char *directory)
{
    uint64_t *limit = context;
    double bytes;
    if (kl_cgroup_numbers(directory, "memory.max", &bytes, 1) != 1 &&
        kl_cgroup_numbers(directory, "memory.limit_in_bytes", &bytes, 1) != 1)
        return;
    if (bytes > 0 && bytes < NO_LIMIT && (*limit == 0 || bytes < (double)*limit))
        *limit = (uint64_t)bytes;
}

uint64_t kl_memory_limit(const char *root, const char *process)
{
    uint64_t limit = 0;
    kl_cgroup_visit(root, process, "memory", see_limit, &limit);
    return limit;
}

void kl_memory_read(const char *root, struct kl_memory *m)
{
    char path[PATH_MAX], text[KL_SYSTEM_TEXT_SIZE], *rest = text, *line;
    unsigned long long kib;
    *m = (struct kl_memory){0};
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    kl_system_text(path, text, sizeof text);
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, "MemTotal: %llu kB", &kib) == 1)
            m->total = kib * 1024;
        else if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            m->available = kib * 1024;
    }
    m->limit = kl_memory_limit(root, "self");
}

uint64_t kl_memory_room(const struct kl_memory *m)
{
    if (m->limit != 0 && (m->available == 0 || m->limit < m->available))
        return m->limit;
    return m->available;
}

struct kl_resident kl_memory_resident(void)
{
    struct kl_resident r = {0};
    char text[KL_SYSTEM_TEXT_SIZE], *rest = text, *line;
    unsigned long long kib;
    kl_system_text("/proc/self/status", text, sizeof text);
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            r.peak = kib * 1024;
        else if (sscanf(line, "VmRSS: %llu kB", &kib) == 1)
            r.all = kib * 1024;
        else if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            r.anonymous = kib * 1024;
    }
    return r;
}

size_t kl_memory_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void kl_memory_prefer_huge_pages(const void *mapping, size_t size)
{
    if (kl_memory_page() == 4096)
        madvise((void *)(uintptr_t)mapping, size, MADV_HUGEPAGE);
}

size_t kl_memory_whole_pages(size_t bytes, size_t page)
{
    return (bytes + page - 1) & ~(page - 1);
}
