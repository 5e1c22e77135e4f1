/*
 * Reads the small text files of /proc and /sys, and the facts that the program needs from them:
 * processes, disks, sensors, lists of CPUs.
 *
 * Pure readers: any thread, no state, nothing is written. Whatever is missing or malformed is
 * reported as unknown and is no error. Control groups are read by base/cgroup.h, the memory of
 * computer and process by base/memory.h, the usable CPUs by base/cpus.h.
 *
 * root: "" for this computer, or a directory with copies of proc/ and sys/ (tests). name: a path
 * below it: "proc/stat".
 */
#ifndef KL_BASE_SYSTEM_FILES_H
#define KL_BASE_SYSTEM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* ---- without the heap: also when memory is short ----------------------------------------------
 */

/* Enough for /proc/meminfo, /proc/self/status and /proc/self/cgroup. */
#define KL_SYSTEM_TEXT_SIZE 8192

/* Reads a file (a complete path) into text[0..size), NUL-terminated; the rest of a longer one is
 * ignored. false: it cannot be read, and text is empty. size > 0. */
bool kl_system_text(const char *path, char *text, size_t size);

/* ---- lines and numbers: stdio, which allocates ------------------------------------------------
 */

/* Opens a file for reading; the caller closes it. NULL: it does not exist or is not readable
 * (errno). */
FILE *kl_system_open(const char *root, const char *name);

/* Reads the first line, without its end. false: no such file, or an empty line; out is "". */
bool kl_system_line(const char *root, const char *name, char *out, size_t size);

/* Reads the number that a file begins with. false: there is none; *value is unchanged. */
bool kl_system_number(const char *root, const char *name, double *value);

/* Returns the number behind "field:" or "field " at the beginning of a line, as in /proc/meminfo;
 * `otherwise` where the file or the field is missing. */
double kl_system_field(const char *root, const char *name, const char *field, double otherwise);

/* ---- processes --------------------------------------------------------------------------------
 */

/* The fields that are used of /proc/PID/stat or /proc/PID/task/TID/stat (proc(5)). */
struct kl_system_stat {
    char name[24];
    char state;          /* 'R' runs or wants to, 'S' sleeps, 'D' waits for a disk, ... */
    double user, kernel; /* seconds on a CPU so far; of a process all its threads together */
    double major_faults; /* pages that had to be read from a disk */
    size_t n_threads;
};
bool kl_system_stat(const char *root, const char *name, struct kl_system_stat *stat);

/* ---- disks ------------------------------------------------------------------------------------
 */

/* Names the disk that a device number (st_dev of a file) belongs to: "mmcblk0", "nvme0n1". false:
 * none, as for files in memory, in a container or on the network. */
bool kl_system_disk(const char *root, dev_t device, char *out, size_t size);

/* Whether a disk is an SD card. eMMC, which is soldered on and faster, is also called mmcblk but is
 * none. */
bool kl_system_is_sd_card(const char *root, const char *disk);

/* ---- sensors ----------------------------------------------------------------------------------
 */

/* Reads the throttling flags of a Raspberry Pi's firmware: bits 0 to 3 now, 16 to 19 since the
 * start: under-voltage, frequency capped, throttled, soft temperature limit (Raspberry Pi
 * documentation, vcgencmd get_throttled). false: there is no such firmware. */
bool kl_system_firmware(const char *root, unsigned long *bits);

#define KL_SYSTEM_ZONES 32 /* thermal zones that callers examine */
/* Reads the temperature of a thermal zone in degrees Celsius. false: no such zone, or a value that
 * is impossible. */
bool kl_system_zone(const char *root, int zone, double *celsius);

/* ---- CPUs -------------------------------------------------------------------------------------
 */

/* Returns the number of CPUs that a list like "0-3,5" names, the format of cpuset files and
 * Cpus_allowed_list. */
size_t kl_system_count_cpus(const char *list);

#endif
