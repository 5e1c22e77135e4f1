/*
 * Finds the control groups of a process, v1 and v2: the directories with its limits.
 *
 * Format: https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/. Linux only; elsewhere
 * a process has none. Pure readers, any thread, no heap. What the limits mean is decided by
 * base/cpus.h and base/memory.h.
 */
#ifndef KL_BASE_CGROUP_H
#define KL_BASE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* Calls `visit` for the directory of a process's group and of each group above it, whose limits
 * apply as well, in the hierarchy (v1) of `controller` ("cpu", "memory") and in the unified one
 * (v2). root: "" for this computer, or a directory with copies of proc/ and sys/ (tests); process:
 * "self" or a number. */
void kl_cgroup_visit(const char *root, const char *process, const char *controller,
                     void (*visit)(void *context, const char *directory), void *context);

/* Reads the first numbers of the file directory/name, at most max, into out. Returns their number:
 * 0 where the file does not exist or says "max". */
size_t kl_cgroup_numbers(const char *directory, const char *name, double *out, size_t max);

#endif
