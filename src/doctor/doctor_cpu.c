#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/cpus.h"
#include "base/system_files.h"
#include "doctor/doctor.h"
#include "kernels/kernels.h"

#define AREA     "cpu"
#define MAX_CPUS 1024

/* ---- kernels and limits ---------------------------------------------------------------------- */

void kl_doctor_tier(struct kl_findings *findings, const struct kl_load_options *options)
{
    const struct kl_kernels *used = kl_kernels_best(!options->no_avx512), *tier;
    struct kl_error err = {0};
    const char *variable = getenv("KINGLET_CPU");
    const char *name = options->cpu != NULL ? options->cpu : variable;
    if (name != NULL && name[0] != '\0' && kl_kernels_select(name, &used, &err) != KL_OK) {
        kl_found(findings, KL_BROKEN, AREA, "%s", err.text);
        return;
    }
    const struct kl_kernels *best = kl_kernels_best(true);
    if (used == best)
        kl_found(findings, KL_GOOD, AREA, "kernels: %s, the best that this CPU has", used->name);
    else
        kl_found_remedy(kl_found(findings, KL_WARNING, AREA,
                                 "kernels: %s, although this CPU could use %s", used->name,
                                 best->name),
                        "do not set --cpu, KINGLET_CPU or --no-avx512");
    bool better = false; /* the table is in the order of speed */
    for (size_t i = 0; (tier = kl_kernels_at(i)) != NULL; i++) {
        if (better && kl_kernels_select(tier->name, &tier, &err) != KL_OK)
            kl_found(findings, KL_NOTE, AREA, "not used: %s", err.text);
        better = better || tier == best;
    }
}

static void check_quota(struct kl_findings *findings, const struct kl_cpus *cpus)
{
    char text[200];
    kl_cpus_text(cpus, text, sizeof text);
    struct kl_finding *found =
        kl_found(findings, cpus->threads < cpus->fast ? KL_WARNING : KL_GOOD, AREA, "%s%s%s",
                 cpus->model, cpus->model[0] != '\0' ? ": " : "", text);
    if (cpus->threads < cpus->fast) {
        kl_found_cost(found,
                      "at most %zu threads; a step that is stopped by the quota waits for "
                      "the next period (0.1 s)",
                      cpus->threads);
        kl_found_remedy(found, "raise the limit of the container or unit (docker --cpus, systemd "
                               "CPUQuota=)");
    }
}

static void check_affinity(struct kl_findings *findings, const char *root,
                           const struct kl_cpus *cpus)
{
    char list[256];
    if (!kl_system_line(root, "sys/devices/system/cpu/online", list, sizeof list))
        return;
    size_t online = kl_system_count_cpus(list);
    if (cpus->allowed >= online)
        return;
    struct kl_finding *found = kl_found(
        findings, KL_NOTE, AREA, "affinity or a cpuset restricts kinglet to %zu of the %zu CPUs",
        cpus->allowed, online);
    kl_found_remedy(found, "if that is not intended: taskset, docker --cpuset-cpus, systemd "
                           "AllowedCPUs=");
}

/* Updates the largest share of periods in which a control group was stopped. */
static void see_stops(void *context, const char *directory)
{
    double *worst = context;
    double periods = kl_system_field(directory, "cpu.stat", "nr_periods", 0);
    double stopped = kl_system_field(directory, "cpu.stat", "nr_throttled", 0);
    if (periods > 0)
        *worst = fmax(*worst, stopped / periods);
}

static void check_stops(struct kl_findings *findings, const char *root)
{
    double share = 0;
    kl_cgroup_visit(root, "self", "cpu", see_stops, &share);
    if (share <= 0.05)
        return;
    struct kl_finding *found = kl_found(findings, KL_WARNING, AREA,
                                        "the quota has stopped this control group in %.0f %% of "
                                        "its periods",
                                        share * 100);
    kl_found_cost(found, "all threads of a step wait up to 0.1 s for the one that is stopped");
    kl_found_remedy(found,
                    "use fewer threads (--threads), or raise the quota (docker --cpus, systemd "
                    "CPUQuota=)");
}

/* ---- frequencies ----------------------------------------------------------------------------- */

/* Consecutive CPUs of one kind. Frequencies in kHz. */
struct cluster {
    size_t first, last;
    double top, allowed, now; /* of the processor, of its settings, and at present */
    double capacity;
    char governor[40], driver[40];
};

static bool cpu_number(const char *root, size_t cpu, const char *file, double *value)
{
    char name[128];
    snprintf(name, sizeof name, "sys/devices/system/cpu/cpu%zu/%s", cpu, file);
    return kl_system_number(root, name, value);
}

static bool cpu_line(const char *root, size_t cpu, const char *file, char *out, size_t size)
{
    char name[128];
    snprintf(name, sizeof name, "sys/devices/system/cpu/cpu%zu/%s", cpu, file);
    return kl_system_line(root, name, out, size);
}

/* false: the CPU does not exist, or nothing is known about it. */
static bool read_cpu(const char *root, size_t cpu, struct cluster *c)
{
    *c = (struct cluster){.first = cpu, .last = cpu};
    bool known = cpu_number(root, cpu, "cpu_capacity", &c->capacity);
    known |= cpu_number(root, cpu, "cpufreq/cpuinfo_max_freq", &c->top);
    cpu_number(root, cpu, "cpufreq/scaling_max_freq", &c->allowed);
    cpu_number(root, cpu, "cpufreq/scaling_cur_freq", &c->now);
    cpu_line(root, cpu, "cpufreq/scaling_governor", c->governor, sizeof c->governor);
    cpu_line(root, cpu, "cpufreq/scaling_driver", c->driver, sizeof c->driver);
    return known;
}

static bool same_kind(const struct cluster *a, const struct cluster *b)
{
    return a->top == b->top && a->capacity == b->capacity && a->allowed == b->allowed &&
           strcmp(a->governor, b->governor) == 0;
}

/* "powersave" of these two drivers means that the processor chooses; elsewhere it is the lowest
 * frequency there is (kernel documentation, admin-guide/pm/intel_pstate and amd-pstate). */
static bool is_held_down(const struct cluster *c)
{
    return strcmp(c->governor, "powersave") == 0 && strcmp(c->driver, "intel_pstate") != 0 &&
           strcmp(c->driver, "amd-pstate-epp") != 0 && c->now < 0.6 * c->top;
}

static void judge_cluster(struct kl_findings *findings, const struct cluster *c)
{
    char cpus[64];
    if (c->governor[0] == '\0')
        return; /* a virtual machine: its host decides */
    if (c->first == c->last)
        snprintf(cpus, sizeof cpus, "CPU %zu", c->first);
    else
        snprintf(cpus, sizeof cpus, "CPUs %zu-%zu", c->first, c->last);
    bool slow = is_held_down(c);
    struct kl_finding *found = kl_found(findings, slow ? KL_WARNING : KL_GOOD, AREA,
                                        "%s: governor %s, %.2f of at most %.2f GHz", cpus,
                                        c->governor, c->now * 1e-6, c->top * 1e-6);
    if (slow) {
        kl_found_cost(found, "prompts take up to %.1f times as long", c->top / c->now);
        kl_found_remedy(found, "echo ondemand | sudo tee "
                               "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor");
    }
    if (c->allowed > 0 && c->allowed < 0.95 * c->top) {
        found = kl_found(findings, KL_WARNING, AREA, "%s: held at %.2f of %.2f GHz", cpus,
                         c->allowed * 1e-6, c->top * 1e-6);
        kl_found_cost(found, "prompts take up to %.1f times as long", c->top / c->allowed);
        kl_found_remedy(found,
                        "it is too hot, or configured so: see "
                        "/sys/devices/system/cpu/cpu%zu/cpufreq/scaling_max_freq",
                        c->first);
    }
}

static void check_clusters(struct kl_findings *findings, const char *root)
{
    struct cluster current = {0}, next;
    char kinds[256] = "";
    size_t n = 0;
    for (size_t cpu = 0; cpu <= MAX_CPUS; cpu++) {
        bool known = cpu < MAX_CPUS && read_cpu(root, cpu, &next);
        if (known && n > 0 && same_kind(&current, &next)) {
            current.last = cpu;
            current.now = fmax(current.now, next.now);
            continue;
        }
        if (n > 0) {
            size_t used = strlen(kinds);
            judge_cluster(findings, &current);
            snprintf(kinds + used, sizeof kinds - used, "%s%zu-%zu", n > 1 ? ", " : "",
                     current.first, current.last);
            if (current.top > 0 && strlen(kinds) < sizeof kinds - 20)
                sprintf(kinds + strlen(kinds), " (%.2f GHz)", current.top * 1e-6);
        }
        if (!known)
            break;
        current = next;
        n++;
    }
    if (n > 1)
        kl_found(findings, KL_NOTE, AREA, "several kinds of cores: CPUs %s", kinds);
}

/* ---- heat and power -------------------------------------------------------------------------- */

static void found_voltage(struct kl_findings *findings, const char *when)
{
    struct kl_finding *found = kl_found(findings, KL_WARNING, AREA, "under-voltage %s", when);
    kl_found_cost(found, "meanwhile the cores run at 600 MHz");
    kl_found_remedy(found,
                    "use the power supply and cable that are made for this board (27 W for a "
                    "Pi 5)");
}

/* Newer kernels show only the first bit of a Raspberry Pi's firmware, as the alarm of a sensor
 * called rpi_volt. */
static void check_firmware(struct kl_findings *findings, const char *root)
{
    char line[40], name[64];
    double alarm;
    unsigned long bits;
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "sys/class/hwmon/hwmon%d/name", i);
        if (!kl_system_line(root, name, line, sizeof line) || strcmp(line, "rpi_volt") != 0)
            continue;
        snprintf(name, sizeof name, "sys/class/hwmon/hwmon%d/in0_lcrit_alarm", i);
        if (kl_system_number(root, name, &alarm) && alarm != 0) {
            found_voltage(findings, "now");
            return;
        }
    }
    if (!kl_system_firmware(root, &bits))
        return;
    if ((bits & 0x10001) != 0)
        found_voltage(findings, (bits & 1) != 0 ? "now" : "since the start");
    if ((bits & 0xE000E) != 0)
        kl_found_remedy(kl_found(findings, KL_WARNING, AREA, "throttled %s: too hot",
                                 (bits & 0xE) != 0 ? "now" : "since the start"),
                        "add a heat sink with a fan");
    if ((bits & 0xF000F) == 0)
        kl_found(findings, KL_GOOD, AREA, "never throttled, no under-voltage");
}

/* Throttling by the kernel: on ARM the state of a cooling device, on Intel a count. */
static void check_throttling(struct kl_findings *findings, const char *root)
{
    char name[80], type[64];
    double state, count = 0, value;
    for (int i = 0; i < 32; i++) {
        snprintf(name, sizeof name, "sys/class/thermal/cooling_device%d/type", i);
        if (!kl_system_line(root, name, type, sizeof type) || strstr(type, "cpufreq") == NULL)
            continue;
        snprintf(name, sizeof name, "sys/class/thermal/cooling_device%d/cur_state", i);
        if (kl_system_number(root, name, &state) && state > 0)
            kl_found_remedy(kl_found(findings, KL_WARNING, AREA,
                                     "slowed down now because it is hot (%s, step %.0f)", type,
                                     state),
                            "add a heat sink with a fan");
    }
    for (size_t cpu = 0; cpu < MAX_CPUS; cpu++) {
        if (!cpu_number(root, cpu, "thermal_throttle/core_throttle_count", &value))
            break;
        count = fmax(count, value);
    }
    if (count > 0)
        kl_found_remedy(kl_found(findings, KL_NOTE, AREA,
                                 "slowed down %.0f times since the start because it was hot",
                                 count),
                        "clean the fan; check whether 'kinglet bench' gets slower while it runs");
}

/* Returns the temperature at which a zone slows the processor down, in degrees Celsius. */
static double passive_trip(const char *root, int zone)
{
    char name[80], type[32];
    double value;
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "sys/class/thermal/thermal_zone%d/trip_point_%d_type", zone, i);
        if (!kl_system_line(root, name, type, sizeof type))
            break;
        snprintf(name, sizeof name, "sys/class/thermal/thermal_zone%d/trip_point_%d_temp", zone, i);
        if (strcmp(type, "passive") == 0 && kl_system_number(root, name, &value) && value > 0)
            return value * 1e-3;
    }
    return 85;
}

static void check_temperature(struct kl_findings *findings, const char *root)
{
    double hottest = 0, trip = 0;
    for (int i = 0; i < KL_SYSTEM_ZONES; i++) {
        double value;
        if (kl_system_zone(root, i, &value) && value > hottest) {
            hottest = value;
            trip = passive_trip(root, i);
        }
    }
    if (hottest >= trip - 5 && hottest > 0)
        kl_found_remedy(kl_found(findings, KL_WARNING, AREA,
                                 "%.0f degrees Celsius; it slows down from %.0f on", hottest, trip),
                        "add a heat sink with a fan, or improve the air flow");
    else if (hottest > 0)
        kl_found(findings, KL_GOOD, AREA, "%.0f degrees Celsius", hottest);
}

/* ---- other programs -------------------------------------------------------------------------- */

#define SAMPLE_MICROSECONDS 500000
#define MAX_PROCESSES       4096

struct cpu_time {
    double all, idle, steal;
};

static bool read_cpu_time(const char *root, struct cpu_time *t)
{
    char line[256];
    double v[8] = {0};
    if (!kl_system_line(root, "proc/stat", line, sizeof line) ||
        sscanf(line, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3], &v[4],
               &v[5], &v[6], &v[7]) < 4)
        return false;
    *t = (struct cpu_time){.idle = v[3] + v[4], .steal = v[7]};
    for (size_t i = 0; i < 8; i++)
        t->all += v[i];
    return true;
}

struct neighbour {
    long pid;
    double seconds;
    char name[24];
};

/* Reads the CPU seconds of all processes but this one. out: [MAX_PROCESSES]. */
static size_t read_neighbours(const char *root, struct neighbour *out)
{
    char path[64], *end;
    struct dirent *entry;
    struct kl_system_stat stat;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/proc", root);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return 0;
    while (n < MAX_PROCESSES && (entry = readdir(directory)) != NULL) {
        long pid = strtol(entry->d_name, &end, 10);
        if (*end != '\0' || pid <= 0 || pid == (long)getpid())
            continue;
        snprintf(path, sizeof path, "proc/%ld/stat", pid);
        if (!kl_system_stat(root, path, &stat))
            continue;
        out[n] = (struct neighbour){.pid = pid, .seconds = stat.user + stat.kernel};
        memcpy(out[n++].name, stat.name, sizeof stat.name);
    }
    closedir(directory);
    return n;
}

static int busiest_first(const void *a, const void *b)
{
    double x = ((const struct neighbour *)a)->seconds, y = ((const struct neighbour *)b)->seconds;
    return (x < y) - (x > y);
}

/* Writes the three busiest, ": cc1 (pid 12), ...", or "". */
static void name_busiest(const struct neighbour *before, size_t n_before, struct neighbour *after,
                         size_t n_after, char *out, size_t size)
{
    for (size_t i = 0; i < n_after; i++)
        for (size_t k = 0; k < n_before; k++)
            if (before[k].pid == after[i].pid)
                after[i].seconds -= before[k].seconds;
    qsort(after, n_after, sizeof after[0], busiest_first);
    out[0] = '\0';
    for (size_t i = 0; i < n_after && i < 3 && after[i].seconds > 0.02; i++) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%s (pid %ld)", i > 0 ? ", " : ": ", after[i].name,
                 after[i].pid);
    }
}

/* Measures CPU time of other programs for half a second, in which this one sleeps. */
static void check_neighbours(struct kl_findings *findings, const char *root)
{
    static struct neighbour before[MAX_PROCESSES], after[MAX_PROCESSES]; /* 300 KB */
    struct cpu_time first, last;
    char names[160];
    if (!read_cpu_time(root, &first))
        return;
    size_t n_before = read_neighbours(root, before);
    usleep(SAMPLE_MICROSECONDS);
    size_t n_after = read_neighbours(root, after);
    if (!read_cpu_time(root, &last) || last.all <= first.all)
        return;
    name_busiest(before, n_before, after, n_after, names, sizeof names);
    double all = last.all - first.all;
    double steal = (last.steal - first.steal) / all * 100;
    double busy = 100 - (last.idle - first.idle) / all * 100 - steal;
    struct kl_finding *found =
        kl_found(findings, busy > 25 ? KL_WARNING : KL_GOOD, AREA,
                 "other programs use %.0f %% of the processors now%s", busy, busy > 5 ? names : "");
    if (busy > 25) {
        kl_found_cost(found, "answers are slower by about the same share");
        kl_found_remedy(found, "end them, or restrict them (nice -n 19, taskset)");
    }
    if (steal > 5) {
        found = kl_found(findings, KL_WARNING, AREA,
                         "the host of this virtual machine takes %.0f %% of the CPU time (steal)",
                         steal);
        kl_found_cost(found, "a thread that is delayed delays the whole step");
        kl_found_remedy(found,
                        "request dedicated CPUs, or move the virtual machine to another host");
    }
}

void kl_doctor_cpu(struct kl_findings *findings, const char *root)
{
    struct kl_cpus cpus;
    kl_cpus_read(root, NULL, &cpus);
    check_quota(findings, &cpus);
    check_affinity(findings, root, &cpus);
    check_stops(findings, root);
    check_clusters(findings, root);
    check_firmware(findings, root);
    check_throttling(findings, root);
    check_temperature(findings, root);
    check_neighbours(findings, root);
}
