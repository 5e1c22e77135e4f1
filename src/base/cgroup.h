/*
 * The control groups a process is in, v1 and v2: the directories in which limits stand.
 *
 * Format: https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/. Linux only; elsewhere
 * there are none. Reads files; keeps nothing.
 */
#ifndef KL_BASE_CGROUP_H
#define KL_BASE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* Calls visit for the directory of a process's group and for each above it, which limit it as well,
 * in the hierarchy (v1) of `controller` ("cpu", "memory") and in the unified one (v2). root: "" for
 * this computer, or a directory that holds copies of its proc/ and sys/ (tests); process: "self" or
 * a number. */
void kl_cgroup_visit(const char *root, const char *process, const char *controller,
                     void (*visit)(void *context, const char *directory), void *context);

/* The first numbers of directory/name, at most max, into out; returns how many there were. 0 where
 * there is no such file, and where it says "max". */
size_t kl_cgroup_numbers(const char *directory, const char *name, double *out, size_t max);

#endif
