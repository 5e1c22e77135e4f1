#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/system_files.h"
#include "bench/bench_soak.h"

#define MAX_CPUS 256
#define KIB      1024

/* Reads all figures in one pass: they belong together and change between two reads of the file. */
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
    reading->file += shared; /* the kernel treats shared memory as a file */
}

/* The firmware of a Raspberry Pi reports throttling in bits, 0 to 3 for the present. On Intel and
 * AMD the kernel has a count for each core. */
static void read_throttling(struct kl_soak_machine *machine, struct kl_soak_reading *reading)
{
    unsigned long bits;
    double count = 0, one = 0;
    bool counts = false;
    if (kl_system_firmware(machine->root, &bits)) {
        reading->knows_throttling = true;
        reading->throttled = (bits & 0xF) != 0;
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
    for (int i = 0; i < KL_SYSTEM_ZONES; i++)
        if (kl_system_zone(machine->root, i, &value) && value > reading->celsius)
            reading->celsius = value;
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
