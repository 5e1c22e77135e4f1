/*
 * Reading the small text files of /proc and /sys. root: "" for this computer, or a directory that
 * holds copies of proc/ and sys/ (tests); name: "proc/stat". What is not there is not known.
 */
#ifndef KL_BASE_SYSTEM_FILES_H
#define KL_BASE_SYSTEM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* NULL: there is no such file, or it may not be read (errno). The caller closes it. */
FILE *kl_system_open(const char *root, const char *name);

/* The first line, without its end; false: there is no such file, or it is empty (out is ""). */
bool kl_system_line(const char *root, const char *name, char *out, size_t size);

/* The first number of a file; unchanged and false: none. */
bool kl_system_number(const char *root, const char *name, double *value);

/* The number behind "field:" or "field " at the beginning of a line, as in /proc/meminfo, or
 * `otherwise`. */
double kl_system_field(const char *root, const char *name, const char *field, double otherwise);

/* What /proc/PID/stat and /proc/PID/task/TID/stat say of a process or a thread (proc(5)). */
struct kl_system_stat {
    char name[24];
    char state;          /* 'R' runs or wants to, 'S' sleeps, 'D' waits for a disk, ... */
    double user, kernel; /* seconds on a CPU so far, all threads of a process together */
    double major_faults; /* pages that had to be read from a disk */
    size_t n_threads;
};
bool kl_system_stat(const char *root, const char *name, struct kl_system_stat *stat);

/* The disk that a file's device number belongs to: "mmcblk0", "nvme0n1"; false: there is none, as
 * in memory, in a container or on the network. */
bool kl_system_disk(const char *root, dev_t device, char *out, size_t size);
/* Whether a disk is an SD card; eMMC, which is soldered on and quicker, has its name but is none.
 */
bool kl_system_is_sd_card(const char *root, const char *disk);

/* What a Raspberry Pi's firmware says of itself: bits 0-3 are now, 16-19 since the start:
 * under-voltage, frequency capped, throttled, soft temperature limit (Raspberry Pi documentation,
 * vcgencmd get_throttled). false: there is no such firmware. */
bool kl_system_firmware(const char *root, unsigned long *bits);

#define KL_SYSTEM_ZONES 32 /* thermal zones that are looked at */
/* Degrees Celsius; false: there is no such zone, or its sensor says what can not be. */
bool kl_system_zone(const char *root, int zone, double *celsius);

/* How many CPUs a list like "0-3,5" names, as cpuset files and Cpus_allowed_list have it. */
size_t kl_system_count_cpus(const char *list);

#endif
