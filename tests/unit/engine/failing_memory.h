/*
 * Allocations that fail on demand. The linker's --wrap puts the functions below between
 * the program and the C library (see meson.build).
 */
#ifndef KL_TESTS_FAILING_MEMORY_H
#define KL_TESTS_FAILING_MEMORY_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_long n_allocations;
static atomic_long failing =
    -1; /* number of the allocation that fails; `lasting`: and all after it */
static atomic_bool lasting;

static bool fails(void)
{
    long number = atomic_fetch_add(&n_allocations, 1);
    long first = atomic_load(&failing);
    if (first < 0 || number < first || (number > first && !atomic_load(&lasting)))
        return false;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

/* the name of mmap with large file support */
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
}

static inline void fail_at(long number, bool from_there_on)
{
    atomic_store(&n_allocations, 0);
    atomic_store(&lasting, from_there_on);
    atomic_store(&failing, number);
}

/* Returns how many allocations there were. */
static inline long fail_no_more(void)
{
    atomic_store(&failing, -1);
    return atomic_load(&n_allocations);
}

#endif
