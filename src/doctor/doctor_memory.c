#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/memory.h"
#include "base/system_files.h"
#include "console/terminal.h"
#include "doctor/doctor.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static void check_room(struct kl_findings *findings, const char *root)
{
    struct kl_memory memory;
    char total[32], room[32], limit[64] = "";
    kl_memory_read(root, &memory);
    if (memory.limit > 0)
        snprintf(limit, sizeof limit, ", limited to %s by the control group",
                 kl_format_bytes((double)memory.limit, room, sizeof room));
    uint64_t free_bytes = kl_memory_room(&memory);
    bool small = free_bytes < (uint64_t)512 << 20; /* which models fit, kl_doctor_fit says */
    kl_found(findings, small ? KL_NOTE : KL_GOOD, "memory",
             "%s in all%s, %s available without swapping",
             kl_format_bytes((double)memory.total, total, sizeof total), limit,
             kl_format_bytes((double)free_bytes, room, sizeof room));
}

/* Names the devices of the swap, "zram0, mmcblk0p3". Returns true if some of it is on a card or a
 * disk. */
static bool name_swaps(const char *root, char *out, size_t size)
{
    char line[512], device[256];
    bool slow = false;
    FILE *f = kl_system_open(root, "proc/swaps");
    out[0] = '\0';
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (line[0] != '/' || sscanf(line, "%255s", device) != 1)
            continue; /* the header of the table */
        const char *name = strncmp(device, "/dev/", 5) == 0 ? device + 5 : device;
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%.40s", used > 0 ? ", " : "", name);
        slow |= strncmp(name, "zram", 4) != 0;
    }
    if (f != NULL)
        fclose(f);
    return slow;
}

static void check_swap(struct kl_findings *findings, const char *root)
{
    char used[32], names[200];
    double all = kl_system_field(root, "proc/meminfo", "SwapTotal", 0) * 1024;
    double unused = kl_system_field(root, "proc/meminfo", "SwapFree", 0) * 1024;
    bool slow = name_swaps(root, names, sizeof names);
    if (all - unused <= 64e6)
        return;
    struct kl_finding *found =
        kl_found(findings, KL_NOTE, "memory", "%s of swap are in use%s%s%s",
                 kl_format_bytes(all - unused, used, sizeof used), names[0] != '\0' ? " (" : "",
                 names, names[0] != '\0' ? ")" : "");
    kl_found_cost(found, "slow on an SD card; fast in zram");
    if (slow)
        kl_found_remedy(found,
                        "swap to compressed memory (Debian: the package zram-tools), or serve "
                        "with --memory, which refuses requests instead");
}

/* Reads how much data zram holds, and in how much memory: the first three numbers of mm_stat
 * (kernel documentation, admin-guide/blockdev/zram). */
static void check_zram(struct kl_findings *findings, const char *root)
{
    double data = 0, taken = 0;
    char name[64], line[256], before[32], after[32];
    for (int i = 0; i < 16; i++) {
        double original, compressed, total;
        snprintf(name, sizeof name, "sys/block/zram%d/mm_stat", i);
        if (!kl_system_line(root, name, line, sizeof line) ||
            sscanf(line, "%lf %lf %lf", &original, &compressed, &total) != 3)
            continue;
        data += original;
        taken += total;
    }
    if (data > 1e6)
        kl_found(findings, KL_NOTE, "memory", "zram keeps %s in %s of memory",
                 kl_format_bytes(data, before, sizeof before),
                 kl_format_bytes(taken, after, sizeof after));
}

static void see_ended(void *context, const char *directory)
{
    double *n = context;
    *n += kl_system_field(directory, "memory.events", "oom_kill", 0);
    *n += kl_system_field(directory, "memory.oom_control", "oom_kill", 0);
}

/* The counts of v2 include the groups below, so the sum over levels counts some twice: only whether
 * it is 0 matters. */
static void check_limits(struct kl_findings *findings, const char *root)
{
    double ended = 0;
    kl_cgroup_visit(root, "self", "memory", see_ended, &ended);
    if (ended <= 0)
        return;
    struct kl_finding *found = kl_found(findings, KL_WARNING, "memory",
                                        "the memory limit of this control group has ended programs "
                                        "in it");
    kl_found_cost(found, "a server that is killed loses all running answers");
    kl_found_remedy(found, "serve with --memory a little below the limit, or raise it (docker "
                           "--memory, systemd MemoryMax=)");
}

static void check_pages(struct kl_findings *findings, const char *root)
{
    char line[64], *begin, *end;
    const char *huge = "none";
    if (kl_system_line(root, "sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line) &&
        (begin = strchr(line, '[')) != NULL && (end = strchr(begin, ']')) != NULL) {
        *end = '\0';
        huge = begin + 1;
    }
    kl_found(findings, KL_GOOD, "memory", "pages of %zu KiB; transparent huge pages: %s",
             kl_memory_page() / 1024, huge);
}

void kl_doctor_memory(struct kl_findings *findings, const char *root)
{
    check_room(findings, root);
    check_limits(findings, root);
    check_swap(findings, root);
    check_zram(findings, root);
    check_pages(findings, root);
}

/* ---- disks ----------------------------------------------------------------------------------- */

#define SECTOR_BYTES        512 /* in /sys/block/DISK/stat, on every disk */
#define SAMPLE_MICROSECONDS 500000
#define MANY_BYTES_WRITTEN  500e3 /* a second, to an SD card */

/* Reads the number of bytes written so far. false: no such disk. */
static bool read_written(const char *root, const char *disk, double *bytes)
{
    char name[128], line[256];
    double sectors;
    snprintf(name, sizeof name, "sys/block/%s/stat", disk);
    if (!kl_system_line(root, name, line, sizeof line) ||
        sscanf(line, "%*s %*s %*s %*s %*s %*s %lf", &sectors) != 1)
        return false;
    *bytes = sectors * SECTOR_BYTES;
    return true;
}

void kl_doctor_storage(struct kl_findings *findings, const char *root, const char *path)
{
    struct stat st;
    char disk[64], name[128], speed[32];
    double turns = 0, before, after;
    if (stat(path, &st) != 0 || !kl_system_disk(root, st.st_dev, disk, sizeof disk))
        return;
    snprintf(name, sizeof name, "sys/block/%s/queue/rotational", disk);
    kl_system_number(root, name, &turns);
    bool card = kl_system_is_sd_card(root, disk);
    kl_found(findings, card ? KL_NOTE : KL_GOOD, "disk", "the weights lie on %s%s", disk,
             card         ? ", an SD card"
             : turns != 0 ? ", a rotating disk (or a virtual one)"
                          : "");
    if (!card || !read_written(root, disk, &before))
        return;
    usleep(SAMPLE_MICROSECONDS);
    if (!read_written(root, disk, &after))
        return;
    double rate = (after - before) / (SAMPLE_MICROSECONDS * 1e-6);
    if (rate < MANY_BYTES_WRITTEN)
        return;
    struct kl_finding *found =
        kl_found(findings, KL_WARNING, "disk", "programs write %s a second to the SD card",
                 kl_format_bytes(rate, speed, sizeof speed));
    kl_found_cost(found, "reads from it wait, for seconds when many writes are queued");
    kl_found_remedy(found, "look for logs (iotop -oa; kinglet doctor --pid PID): use --log-level "
                           "warning, or keep them in memory (Storage=volatile in journald.conf)");
}
