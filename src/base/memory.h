/*
 * The memory of the computer, its limits, and the resident memory of this process, in bytes. Linux;
 * 0: not known.
 *
 * Pure readers: any thread, no heap, so that they work when memory is short.
 */
#ifndef KL_BASE_MEMORY_H
#define KL_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct kl_memory {
    uint64_t total;     /* of this computer */
    uint64_t available; /* of this, without swapping: MemAvailable */
    uint64_t limit;     /* the smallest limit of the control groups of this process (v1, v2) */
};

/* root: as in base/system_files.h. */
void kl_memory_read(const char *root, struct kl_memory *memory);

/* Returns the smallest limit of the control groups of a process ("self" or a number); 0: none. */
uint64_t kl_memory_limit(const char *root, const char *process);

/* Returns the smaller one of `available` and `limit`; 0: not known. */
uint64_t kl_memory_room(const struct kl_memory *memory);

/* Memory of this process that is resident now: all, and the part that belongs to no file. peak: the
 * largest `all` so far. */
struct kl_resident {
    uint64_t all, anonymous, peak;
};
struct kl_resident kl_memory_resident(void);

/* Returns the page size in bytes, a power of two: 4 KiB on most computers, 16 KiB on a Raspberry
 * Pi 5, 64 KiB on some servers. */
size_t kl_memory_page(void);

/* Asks for pages of 2 MiB instead of 4 KiB for a mapping of a file or of memory, before it is read
 * or written: the core then finds addresses in fewer steps, and prefetches over more of them. A
 * wish: the system may have no such pages, or too few, or none for this file system. Larger small
 * pages are left as they are, since their huge ones have 32 MiB and more. */
void kl_memory_prefer_huge_pages(const void *mapping, size_t size);

/* Rounds a number of bytes up to whole pages. bytes + page must not overflow. */
size_t kl_memory_whole_pages(size_t bytes, size_t page);

#endif
