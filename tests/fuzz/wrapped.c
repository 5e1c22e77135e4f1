#include "wrapped.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

size_t wrapped_allocations;
size_t wrapped_failing_from;
static void *in_heap[8]; /* mapped files */

static bool allocation_fails(void)
{
    wrapped_allocations++;
    return wrapped_failing_from != 0 && wrapped_allocations >= wrapped_failing_from;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size);
int __real_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice);

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return allocation_fails() ? NULL : __real_strdup(text);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (allocation_fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (fd < 0 || (flags & MAP_FIXED) != 0) /* one of several files that follow one another */
        return __real_mmap(address, size, protection, flags, fd, offset);
    size_t i = 0;
    while (in_heap[i] != NULL)
        i++;
    in_heap[i] = __real_malloc(size);
    if (in_heap[i] == NULL || pread(fd, in_heap[i], size, offset) != (ssize_t)size)
        abort();
    return in_heap[i];
}

void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap(address, size, protection, flags, fd, offset);
}

static void **heap_block(const void *address)
{
    for (size_t i = 0; i < sizeof in_heap / sizeof in_heap[0]; i++)
        if (in_heap[i] == address)
            return &in_heap[i];
    return NULL;
}

int __wrap_munmap(void *address, size_t size)
{
    void **block = heap_block(address);
    if (block == NULL)
        return __real_munmap(address, size);
    free(*block);
    *block = NULL;
    return 0;
}

int __wrap_madvise(void *address, size_t size, int advice)
{
    /* the file is in a heap block: there is nothing to read ahead or to give back */
    for (size_t i = 0; i < sizeof in_heap / sizeof in_heap[0]; i++)
        if (in_heap[i] != NULL)
            return 0;
    return __real_madvise(address, size, advice);
}
