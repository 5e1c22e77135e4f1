/*
 * How much memory there is, and how much of it is ours. Linux; 0 where something is not known.
 */
#ifndef KL_BASE_MEMORY_H
#define KL_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct kl_memory {
    uint64_t total;     /* of this computer */
    uint64_t available; /* of it, without swapping: MemAvailable */
    uint64_t limit;     /* the smallest of our control groups' limits (v1, v2) */
};

/* root: "" for this computer, or a directory with copies of proc/ and sys/. */
void kl_memory_read(const char *root, struct kl_memory *memory);

/* The smallest of the limits of a process's control groups ("self" or a number); 0: none. */
uint64_t kl_memory_limit(const char *root, const char *process);

/* What a process may still take: the smaller of available and limit; 0: not known. */
uint64_t kl_memory_room(const struct kl_memory *memory);

/* Of this process, in memory now: all, and what is not a file's (anonymous). The peak of all. */
struct kl_resident {
    uint64_t all, anonymous, peak;
};
struct kl_resident kl_memory_resident(void);

/* What the system gives memory in, in bytes: 4 KiB on most computers, 16 KiB on a Raspberry Pi 5,
 * 64 KiB on some servers. A power of two. */
size_t kl_memory_page(void);

/* How much memory a mapping of so many bytes takes: whole pages. bytes + page must not overflow. */
size_t kl_memory_whole_pages(size_t bytes, size_t page);

#endif
