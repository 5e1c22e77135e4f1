/*
 * A library for LD_PRELOAD that makes an allocation fail, or a call that changes the prefix cache
 * on disk, or kills the process at such a call. A file shared by the test and the program chooses
 * the call ($KINGLET_FAULTS, struct faults). It also counts the allocated blocks.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Same layout as in tests/tools/faults.py. Counters: the call that decrements one to 0 fails; while
 * a counter is 0, no call fails. */
struct faults {
    atomic_llong allocation;
    atomic_llong blocks; /* allocated now */
    atomic_llong disk;
    atomic_llong error;   /* for the disk: an errno; 0: kill the process */
    atomic_llong lasting; /* not 0: all later calls for the disk fail, too */
};

static struct faults nowhere, *faults = &nowhere;

/* Runs before main, which starts threads. */
__attribute__((constructor)) static void open_faults(void)
{
    const char *path = getenv("KINGLET_FAULTS");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                        : MAP_FAILED;
    if (map == MAP_FAILED)
        abort();
    close(fd);
    faults = map;
}

static bool counts_down(atomic_llong *number)
{
    return atomic_load(number) > 0 && atomic_fetch_sub(number, 1) == 1;
}

/* Returns the next definition after this library's: the C library's, or a sanitizer's. */
#define NEXT(type, name, ...)                                                                      \
    static type (*next)(__VA_ARGS__);                                                              \
    if (next == NULL)                                                                              \
    next = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* ---- memory ---------------------------------------------------------------------------------- */

static bool has_no_memory(void)
{
    if (!counts_down(&faults->allocation))
        return false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *block)
{
    atomic_fetch_add(&faults->blocks, block != NULL);
    return block;
}

void *malloc(size_t size)
{
    NEXT(void *, "malloc", size_t);
    return has_no_memory() ? NULL : counted(next(size));
}

void *calloc(size_t n, size_t size)
{
    NEXT(void *, "calloc", size_t, size_t);
    return has_no_memory() ? NULL : counted(next(n, size));
}

void *realloc(void *block, size_t size)
{
    NEXT(void *, "realloc", void *, size_t);
    if (has_no_memory())
        return NULL;
    return block == NULL ? counted(next(block, size)) : next(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    NEXT(void *, "aligned_alloc", size_t, size_t);
    return has_no_memory() ? NULL : counted(next(alignment, size));
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    NEXT(int, "posix_memalign", void **, size_t, size_t);
    int failed = has_no_memory() ? ENOMEM : next(block, alignment, size);
    if (failed == 0)
        counted(*block);
    return failed;
}

void free(void *block)
{
    NEXT(void, "free", void *);
    atomic_fetch_sub(&faults->blocks, block != NULL);
    next(block);
}

/* Pages of the KV cache; not the mapping of a file. (Where files can be large, as here, mmap and
 * openat are compiled to calls of mmap64 and openat64, in the program as in this file.) */
static bool has_no_pages(int flags)
{
    return (flags & MAP_ANONYMOUS) != 0 && has_no_memory();
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    NEXT(void *, "mmap64", void *, size_t, int, int, int, off_t);
    return has_no_pages(flags) ? MAP_FAILED : next(at, size, protection, flags, fd, offset);
}

/* ---- the prefix cache on disk ------------------------------------------------------------------
 */

enum { MOST_FILES = 4096 };
static atomic_bool is_page[MOST_FILES]; /* files being written, by descriptor */

/* Whether a path is of a page file, partial or complete: see src/engine/page_file.h. */
static bool names_page(const char *name)
{
    size_t len = strlen(name);
    return strncmp(name, "writing.", 8) == 0 || (len > 5 && strcmp(name + len - 5, ".page") == 0);
}

static bool holds_page(int fd)
{
    return fd >= 0 && fd < MOST_FILES && atomic_load(&is_page[fd]);
}

static bool disk_fails(bool concerned)
{
    if (!concerned || atomic_load(&faults->disk) <= 0 || !counts_down(&faults->disk))
        return false;
    if (atomic_load(&faults->error) == 0)
        kill(getpid(), SIGKILL);
    if (atomic_load(&faults->lasting) != 0)
        atomic_store(&faults->disk, 1);
    errno = (int)atomic_load(&faults->error);
    return true;
}

static int opened(bool is_written_page, int fd)
{
    if (fd >= 0 && fd < MOST_FILES)
        atomic_store(&is_page[fd], is_written_page);
    return fd;
}

int openat(int directory, const char *name, int flags, ...)
{
    NEXT(int, "openat64", int, const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    bool concerned = (flags & O_CREAT) != 0 && names_page(name);
    return disk_fails(concerned) ? -1 : opened(concerned, next(directory, name, flags, mode));
}

/* Writes half of the data before the call fails, or before the process is killed. */
ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(ssize_t, "write", int, const void *, size_t);
    if (!holds_page(fd))
        return next(fd, data, size);
    if (atomic_load(&faults->disk) == 1 && size > 1)
        (void)!next(fd, data, size / 2);
    return disk_fails(true) ? -1 : next(fd, data, size);
}

int close(int fd)
{
    NEXT(int, "close", int);
    bool concerned = holds_page(fd);
    if (concerned)
        atomic_store(&is_page[fd], false);
    bool failed = disk_fails(concerned);
    int error = errno, result = next(fd); /* the descriptor is closed, even on an error */
    if (!failed)
        return result;
    errno = error;
    return -1;
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    NEXT(int, "renameat", int, const char *, int, const char *);
    return disk_fails(names_page(to)) ? -1 : next(from_directory, from, to_directory, to);
}

int unlinkat(int directory, const char *name, int flags)
{
    NEXT(int, "unlinkat", int, const char *, int);
    return disk_fails(names_page(name)) ? -1 : next(directory, name, flags);
}
