#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/memory.h"
#include "cli/doctor.h"
#include "cli/terminal.h"
#include "kernels/kernels.h"

/* ---- files of proc/ and sys/ ----------------------------------------------------------------- */

static FILE *open_below(const char *root, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", root, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

/* The first line; false: there is no such file, or it is empty. */
static bool read_line(const char *root, const char *name, char *out, size_t size)
{
    FILE *f = open_below(root, name);
    out[0] = '\0';
    if (f == NULL)
        return false;
    if (fgets(out, (int)size, f) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
    return out[0] != '\0';
}

/* The first number of a file; false: none. */
static bool read_number(const char *root, const char *name, double *value)
{
    char line[128], *end;
    if (!read_line(root, name, line, sizeof line))
        return false;
    *value = strtod(line, &end);
    return end != line;
}

/* A number behind "name:" in a file of lines like /proc/meminfo; -1: none. */
static double read_field(const char *root, const char *name, const char *field)
{
    char line[256];
    double value = -1;
    FILE *f = open_below(root, name);
    while (f != NULL && value < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtod(line + strlen(field) + 1, NULL);
    if (f != NULL)
        fclose(f);
    return value;
}

/* ---- processor ------------------------------------------------------------------------------- */

void kl_doctor_tier(struct kl_findings *findings, const struct kl_load_options *options)
{
    const struct kl_kernels *used = kl_kernels_best(!options->no_avx512), *tier;
    struct kl_error err = {0};
    const char *variable = getenv("KINGLET_CPU");
    const char *name = options->cpu != NULL ? options->cpu : variable;
    if (name != NULL && name[0] != '\0' && kl_kernels_select(name, &used, &err) != KL_OK) {
        kl_found(findings, KL_BROKEN, "cpu", "%s", err.text);
        return;
    }
    const struct kl_kernels *best = kl_kernels_best(true);
    if (used == best)
        kl_found(findings, KL_GOOD, "cpu", "kernels: %s, the best that this CPU has", used->name);
    else
        kl_found_remedy(kl_found(findings, KL_WARNING, "cpu",
                                 "kernels: %s, and this CPU could use %s", used->name, best->name),
                        "leave --cpu, KINGLET_CPU and --no-avx512 away");
    for (size_t i = 0; (tier = kl_kernels_at(i)) != NULL; i++)
        if (kl_kernels_select(tier->name, &tier, &err) != KL_OK)
            kl_found(findings, KL_NOTE, "cpu", "not used: %s", err.text);
}

static void check_quota(struct kl_findings *findings, const struct kl_cpus *cpus)
{
    char text[200];
    kl_cpus_text(cpus, text, sizeof text);
    struct kl_finding *found =
        kl_found(findings, cpus->threads < cpus->fast ? KL_WARNING : KL_GOOD, "cpu", "%s%s%s",
                 cpus->model, cpus->model[0] != '\0' ? ": " : "", text);
    if (cpus->threads < cpus->fast) {
        kl_found_cost(found,
                      "%zu threads at most; a step that is stopped by the quota waits for "
                      "the next period (0.1 s)",
                      cpus->threads);
        kl_found_remedy(found, "raise the limit of the container or unit (docker --cpus, systemd "
                               "CPUQuota=)");
    }
}

static void check_frequency(struct kl_findings *findings, const char *root)
{
    char governor[40];
    double now = 0, top = 0;
    static const char directory[] = "sys/devices/system/cpu/cpu0/cpufreq/";
    char name[128];
    snprintf(name, sizeof name, "%sscaling_governor", directory);
    if (!read_line(root, name, governor, sizeof governor))
        return; /* a virtual machine: its host decides */
    snprintf(name, sizeof name, "%sscaling_cur_freq", directory);
    read_number(root, name, &now);
    snprintf(name, sizeof name, "%scpuinfo_max_freq", directory);
    read_number(root, name, &top);
    bool slow = strcmp(governor, "powersave") == 0 && top > 0 && now < 0.6 * top;
    struct kl_finding *found =
        kl_found(findings, slow ? KL_WARNING : KL_GOOD, "cpu",
                 "governor %s, %.2f of at most %.2f GHz", governor, now * 1e-6, top * 1e-6);
    if (slow) {
        kl_found_cost(found, "prompts take up to %.1f times as long", top / now);
        kl_found_remedy(found, "echo ondemand | sudo tee "
                               "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor");
    }
}

/* Raspberry Pi's firmware: bits 0-3 are now, 16-19 since the start: under-voltage, frequency
 * capped, throttled, soft temperature limit (Raspberry Pi documentation, vcgencmd get_throttled).
 */
static void check_firmware(struct kl_findings *findings, const char *root)
{
    char line[40];
    if (!read_line(root, "sys/devices/platform/soc/soc:firmware/get_throttled", line, sizeof line))
        return;
    unsigned long bits = strtoul(line, NULL, 16);
    struct kl_finding *found;
    if ((bits & 0x1) != 0 || (bits & 0x10000) != 0) {
        found = kl_found(findings, KL_WARNING, "cpu", "under-voltage %s",
                         (bits & 1) != 0 ? "now" : "since the start");
        kl_found_cost(found, "the cores are slowed down to 600 MHz while it lasts");
        kl_found_remedy(found, "use the 27 W supply and its own cable");
    }
    if ((bits & 0xE) != 0 || (bits & 0xE0000) != 0) {
        found = kl_found(findings, KL_WARNING, "cpu", "throttled %s: too hot",
                         (bits & 0xE) != 0 ? "now" : "since the start");
        kl_found_remedy(found, "give it a heat sink with a fan");
    }
    if ((bits & 0xF000F) == 0)
        kl_found(findings, KL_GOOD, "cpu", "never throttled, no under-voltage");
}

static void check_temperature(struct kl_findings *findings, const char *root)
{
    double hottest = 0;
    for (int i = 0; i < 16; i++) {
        char name[64];
        double value;
        snprintf(name, sizeof name, "sys/class/thermal/thermal_zone%d/temp", i);
        if (read_number(root, name, &value) && value > hottest)
            hottest = value;
    }
    if (hottest >= 80000)
        kl_found_cost(kl_found(findings, KL_WARNING, "cpu", "%.0f degrees Celsius", hottest * 1e-3),
                      "most processors slow down from 80 or 85 degrees on");
    else if (hottest > 0)
        kl_found(findings, KL_GOOD, "cpu", "%.0f degrees Celsius", hottest * 1e-3);
}

struct cpu_time {
    double all, idle, steal;
};

static bool read_cpu_time(const char *root, struct cpu_time *t)
{
    char line[256];
    double v[8] = {0};
    if (!read_line(root, "proc/stat", line, sizeof line) ||
        sscanf(line, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3], &v[4],
               &v[5], &v[6], &v[7]) < 4)
        return false;
    *t = (struct cpu_time){.idle = v[3] + v[4], .steal = v[7]};
    for (size_t i = 0; i < 8; i++)
        t->all += v[i];
    return true;
}

/* What others take now: nobody of us works in this half second. */
static void check_neighbours(struct kl_findings *findings, const char *root)
{
    struct cpu_time before, after;
    if (!read_cpu_time(root, &before))
        return;
    usleep(500000);
    if (!read_cpu_time(root, &after) || after.all <= before.all)
        return;
    double all = after.all - before.all;
    double steal = (after.steal - before.steal) / all * 100;
    double busy = 100 - (after.idle - before.idle) / all * 100 - steal;
    struct kl_finding *found = kl_found(findings, busy > 25 ? KL_WARNING : KL_GOOD, "cpu",
                                        "other programs use %.0f %% of the processors now", busy);
    if (busy > 25) {
        kl_found_cost(found, "answers are slower by about as much");
        kl_found_remedy(found, "'top' shows which ones");
    }
    if (steal > 5)
        kl_found_cost(kl_found(findings, KL_WARNING, "cpu",
                               "the host of this virtual machine takes %.0f %% away (steal)",
                               steal),
                      "a thread that is held up holds up the whole step");
}

void kl_doctor_cpu(struct kl_findings *findings, const char *root)
{
    struct kl_cpus cpus;
    kl_cpus_read(root, NULL, &cpus);
    check_quota(findings, &cpus);
    check_frequency(findings, root);
    check_firmware(findings, root);
    check_temperature(findings, root);
    check_neighbours(findings, root);
}

/* ---- memory ---------------------------------------------------------------------------------- */

void kl_doctor_memory(struct kl_findings *findings, const char *root)
{
    struct kl_memory memory;
    char total[32], room[32], limit[64] = "";
    kl_memory_read(root, &memory);
    if (memory.limit > 0)
        snprintf(limit, sizeof limit, ", %s by the control group",
                 kl_format_bytes((double)memory.limit, room, sizeof room));
    uint64_t free_bytes = kl_memory_room(&memory);
    bool small = free_bytes < (uint64_t)512 << 20;
    struct kl_finding *found =
        kl_found(findings, small ? KL_WARNING : KL_GOOD, "memory",
                 "%s in all%s, %s to be had without swapping",
                 kl_format_bytes((double)memory.total, total, sizeof total), limit,
                 kl_format_bytes((double)free_bytes, room, sizeof room));
    if (small) {
        kl_found_cost(found, "weights that do not stay in memory are read from the disk for each "
                             "token");
        kl_found_remedy(found, "end other programs, or --ctx-size 2048 --kv-type int8");
    }
    double swap = read_field(root, "proc/meminfo", "SwapTotal") * 1024;
    double unused = read_field(root, "proc/meminfo", "SwapFree") * 1024;
    if (swap > 0 && swap - unused > 64e6)
        kl_found_cost(kl_found(findings, KL_NOTE, "memory", "%s of swap are in use",
                               kl_format_bytes(swap - unused, room, sizeof room)),
                      "slow when it is on an SD card; zram is quick");
    long page = sysconf(_SC_PAGESIZE);
    if (page != 4096)
        kl_found(findings, KL_NOTE, "memory", "pages of %ld bytes", page);
}
