/*
 * Small files in which the system says something (below /proc and /sys), without the heap: what
 * they tell is asked for when memory is short, too.
 */
#ifndef KL_BASE_SYSTEM_FILE_H
#define KL_BASE_SYSTEM_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Enough for /proc/meminfo, /proc/self/status and /proc/self/cgroup. */
#define KL_SYSTEM_FILE_SIZE 8192

/* The file's text, NUL-ended; of a longer one the beginning. false: it can not be read, and text is
 * empty. size: of text, at least 1. */
bool kl_system_file_read(const char *path, char *text, size_t size);

#endif
