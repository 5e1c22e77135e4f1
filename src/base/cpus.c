#include "base/cpus.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/pool.h"

/* A core is of the fast kind with at least this share of the fastest one's capacity. Efficient
 * cores have 0.25 (Cortex-A55 next to A76) to 0.75 (Intel's, by their highest frequency); favoured
 * cores of one kind differ by less than 0.1, the middle cores of a phone by 0.2. A step lasts as
 * long as its last item, so a slow core has to be worth its barrier. */
#define FAST_SHARE 0.8

static FILE *open_cpu_file(const char *root, size_t cpu, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%zu/%s", root, cpu, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

/* The first number in a file of a CPU, or `otherwise`. */
static double cpu_number(const char *root, size_t cpu, const char *name, double otherwise)
{
    double value;
    FILE *f = open_cpu_file(root, cpu, name);
    if (f == NULL)
        return otherwise;
    if (fscanf(f, "%lf", &value) != 1)
        value = otherwise;
    fclose(f);
    return value;
}

/* Removes all but the fast CPUs from the set. */
static void keep_fast(const char *root, cpu_set_t *set)
{
    static const char *const files[] = {"cpu_capacity", "cpufreq/cpuinfo_max_freq"};
    cpu_set_t fast = *set;
    /* all CPUs have a file or none has; capacities are better than frequencies */
    for (size_t i = 0; i < 2; i++) {
        double best = 0;
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, set))
                best = fmax(best, cpu_number(root, cpu, files[i], 0));
        if (best <= 0)
            continue;
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, set) && cpu_number(root, cpu, files[i], best) < FAST_SHARE * best)
                CPU_CLR(cpu, &fast);
        break;
    }
    *set = fast;
}

/* Counts cores, each by its first SMT sibling in the set. */
static size_t count_cores(const char *root, const cpu_set_t *set)
{
    cpu_set_t seen;
    size_t cores = 0;
    CPU_ZERO(&seen);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, set))
            continue;
        double sibling = cpu_number(root, cpu, "topology/thread_siblings_list", -1);
        size_t first = sibling >= 0 && sibling < CPU_SETSIZE ? (size_t)sibling : cpu;
        cores += !CPU_ISSET(first, &seen);
        CPU_SET(first, &seen);
    }
    return cores;
}

/* v2 has "quota period" in cpu.max, v1 a file for each; -1 and "max" mean no limit. */
static void see_quota(void *context, const char *directory)
{
    double *cpus = context, values[2];
    if (kl_cgroup_numbers(directory, "cpu.max", values, 2) != 2 &&
        (kl_cgroup_numbers(directory, "cpu.cfs_quota_us", &values[0], 1) != 1 ||
         kl_cgroup_numbers(directory, "cpu.cfs_period_us", &values[1], 1) != 1))
        return;
    if (values[0] > 0 && values[1] > 0)
        *cpus = fmin(*cpus, values[0] / values[1]);
}

double kl_cpus_quota(const char *root, const char *process)
{
    double cpus = HUGE_VAL;
    kl_cgroup_visit(root, process, "cpu", see_quota, &cpus);
    return cpus;
}

/* Reads the name: "model name" on x86, the number of the core's design on ARM. */
static void read_model(const char *root, char *out, size_t size)
{
    char path[PATH_MAX], line[256];
    out[0] = '\0';
    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    FILE *f = fopen(path, "re");
    while (f != NULL && out[0] == '\0' && fgets(line, sizeof line, f) != NULL) {
        char *value = strchr(line, ':');
        if (value != NULL &&
            (strncmp(line, "model name", 10) == 0 || strncmp(line, "CPU part", 8) == 0)) {
            value += 1 + strspn(value + 1, " \t");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
        }
    }
    if (f != NULL)
        fclose(f);
}

void kl_cpus_read(const char *root, const cpu_set_t *allowed, struct kl_cpus *cpus)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    *cpus = (struct kl_cpus){0};
    if (allowed != NULL)
        set = *allowed;
    else
        sched_getaffinity(0, sizeof set, &set); /* fails with more CPUs than the set has room for */
    cpus->allowed = (size_t)CPU_COUNT(&set);
    if (cpus->allowed > 0) {
        keep_fast(root, &set);
        cpus->fast = (size_t)CPU_COUNT(&set);
        cpus->cores = count_cores(root, &set);
    } else {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        cpus->allowed = cpus->fast = cpus->cores = online > 0 ? (size_t)online : 1;
    }
    double quota = kl_cpus_quota(root, "self");
    if (quota < (double)cpus->allowed)
        cpus->quota = (size_t)ceil(quota);
    cpus->threads = cpus->fast;
    if (cpus->quota > 0 && cpus->quota < cpus->threads)
        cpus->threads = cpus->quota;
    if (cpus->threads > KL_POOL_MAX_THREADS)
        cpus->threads = KL_POOL_MAX_THREADS;
    read_model(root, cpus->model, sizeof cpus->model);
}

const char *kl_cpus_text(const struct kl_cpus *cpus, char *out, size_t size)
{
    int used =
        snprintf(out, size, "%zu CPU%s may be used", cpus->allowed, cpus->allowed == 1 ? "" : "s");
    size_t at = used > 0 && (size_t)used < size ? (size_t)used : size;
    if (cpus->fast < cpus->allowed)
        at += (size_t)snprintf(out + at, size - at, ", %zu of them fast", cpus->fast);
    if (cpus->cores < cpus->fast && at < size)
        at += (size_t)snprintf(out + at, size - at, " (%zu cores)", cpus->cores);
    if (cpus->quota > 0 && at < size)
        snprintf(out + at, size - at, ", CPU time for %zu", cpus->quota);
    return out;
}
