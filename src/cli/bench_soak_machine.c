#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_soak.h"
#include "cli/system_files.h"

#define MAX_ZONES 32
#define MAX_CPUS  256
#define KIB       1024

/* In one pass: the figures belong together, and change from one reading of the file to the next. */
void kl_soak_read_process(const char *root, pid_t pid, struct kl_soak_reading *reading)
{
    char name[64], line[256];
    double shared = 0;
    const struct {
        const char *field;
        double *value;
    } fields[] = {{"VmHWM:", &reading->peak},
                  {"VmRSS:", &reading->resident},
                  {"RssAnon:", &reading->anonymous},
                  {"RssFile:", &reading->file},
                  {"RssShmem:", &shared},
                  {"VmSwap:", &reading->swap}};
    snprintf(name, sizeof name, "proc/%ld/status", (long)pid);
    FILE *f = kl_system_open(root, name);
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL)
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
            if (strncmp(line, fields[i].field, strlen(fields[i].field)) == 0)
                *fields[i].value = KIB * strtod(line + strlen(fields[i].field), NULL);
    fclose(f);
    reading->file += shared; /* memory that is shared is a file's to the kernel */
}

/* Raspberry Pi's firmware says it in bits: 0-3 are now (vcgencmd get_throttled). Intel's and AMD's
 * processors count, a core each; the kernel shows that. */
static void read_throttling(struct kl_soak_machine *machine, struct kl_soak_reading *reading)
{
    double bits = 0, count = 0, one = 0;
    bool counts = false;
    if (kl_system_number(machine->root, "sys/devices/platform/soc/soc:firmware/get_throttled",
                         &bits)) {
        reading->knows_throttling = true;
        reading->throttled = ((unsigned long)bits & 0xF) != 0;
        return;
    }
    for (int i = 0; i < MAX_CPUS; i++) {
        char name[96];
        snprintf(name, sizeof name,
                 "sys/devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count", i);
        if (!kl_system_number(machine->root, name, &one))
            break;
        counts = true;
        count += one;
    }
    reading->knows_throttling = counts;
    reading->throttled = counts && machine->throttle_count >= 0 && count > machine->throttle_count;
    machine->throttle_count = counts ? count : -1;
}

void kl_soak_read_machine(struct kl_soak_machine *machine, struct kl_soak_reading *reading)
{
    char name[96];
    double value = 0, sum = 0;
    size_t n = 0;
    for (int i = 0; i < MAX_ZONES; i++) {
        snprintf(name, sizeof name, "sys/class/thermal/thermal_zone%d/temp", i);
        if (!kl_system_number(machine->root, name, &value))
            break;
        if (value * 1e-3 > reading->celsius && value < 150e3) /* broken sensors say anything */
            reading->celsius = value * 1e-3;
    }
    for (int i = 0; i < MAX_CPUS; i++) {
        snprintf(name, sizeof name, "sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", i);
        if (!kl_system_number(machine->root, name, &value))
            break;
        sum += value * 1e-3;
        n++;
    }
    reading->mhz = n > 0 ? sum / (double)n : 0;
    read_throttling(machine, reading);
}
