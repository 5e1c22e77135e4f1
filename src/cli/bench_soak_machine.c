#include <stdio.h>

#include "cli/bench_soak.h"
#include "cli/system_files.h"

#define MAX_ZONES 32
#define MAX_CPUS  256
#define KIB       1024

void kl_soak_read_process(const char *root, pid_t pid, struct kl_soak_reading *reading)
{
    char name[64];
    snprintf(name, sizeof name, "proc/%ld/status", (long)pid);
    reading->peak = KIB * kl_system_field(root, name, "VmHWM", 0);
    reading->resident = KIB * kl_system_field(root, name, "VmRSS", 0);
    reading->anonymous = KIB * kl_system_field(root, name, "RssAnon", 0);
    reading->swap = KIB * kl_system_field(root, name, "VmSwap", 0);
    /* memory that is shared is a file's to the kernel */
    reading->file = KIB * (kl_system_field(root, name, "RssFile", 0) +
                           kl_system_field(root, name, "RssShmem", 0));
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
