#include "base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* The open mappings, for a signal handler that may interrupt any code: an entry is claimed first,
 * and has an address only while all else in it is valid. */
static struct mapping {
    atomic_bool claimed;
    _Atomic(uintptr_t) begin; /* 0: unused */
    _Atomic(size_t) size;
    _Atomic(const char *) path;
} mappings[KL_MAX_MAPPED_FILES];

static void remember(const struct kl_mapped_file *file)
{
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES; i++) {
        struct mapping *m = &mappings[i];
        if (atomic_exchange(&m->claimed, true))
            continue;
        atomic_store(&m->path, file->path);
        atomic_store(&m->size, file->size);
        atomic_store(&m->begin, (uintptr_t)file->data);
        return;
    }
}

static void forget(const struct kl_mapped_file *file)
{
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES; i++) {
        struct mapping *m = &mappings[i];
        if (atomic_load(&m->begin) == (uintptr_t)file->data) {
            atomic_store(&m->begin, 0);
            atomic_store(&m->claimed, false);
        }
    }
}

const char *kl_mapped_file_name_at(const void *address)
{
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES; i++) {
        uintptr_t begin = atomic_load(&mappings[i].begin);
        if (begin != 0 && (uintptr_t)address - begin < atomic_load(&mappings[i].size))
            return atomic_load(&mappings[i].path);
    }
    return NULL;
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct kl_file_identity identity_of(const struct stat *st)
{
    return (struct kl_file_identity){.device = st->st_dev,
                                     .inode = st->st_ino,
                                     .size = (uint64_t)st->st_size,
                                     .modified = nanoseconds(st->st_mtim),
                                     .changed = nanoseconds(st->st_ctim)};
}

enum kl_status kl_mapped_file_open(struct kl_mapped_file *file, const char *path,
                                   struct kl_error *err)
{
    *file = (struct kl_mapped_file){0};
    /* O_NONBLOCK: opening a named pipe must not wait; it is refused afterwards */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return kl_fail_errno(err, "cannot open %s", path);
    return kl_mapped_file_take(file, fd, path, err);
}

enum kl_status kl_mapped_file_take(struct kl_mapped_file *file, int fd, const char *path,
                                   struct kl_error *err)
{
    *file = (struct kl_mapped_file){0};
    enum kl_status status = KL_OK;
    struct stat st;
    if (fstat(fd, &st) != 0) {
        status = kl_fail_errno(err, "cannot read the size of %s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        status = kl_fail(err, KL_ERR_INVALID, "%s is not a regular file", path);
        goto out;
    }
    if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            status = kl_fail_errno(err, "cannot map %s", path);
            goto out;
        }
        file->data = data;
        file->size = (size_t)st.st_size;
        file->fd = fd;
        fd = -1;
    }
    file->identity = identity_of(&st);
    file->path = strdup(path);
    if (file->path == NULL) {
        kl_mapped_file_close(file);
        status = kl_fail_memory(err, "a file name", strlen(path) + 1);
        goto out;
    }
    if (file->data != NULL)
        remember(file);
out:
    if (fd >= 0)
        close(fd);
    return status;
}

void kl_mapped_file_close(struct kl_mapped_file *file)
{
    if (file->data != NULL) {
        forget(file);
        munmap((void *)(uintptr_t)file->data, file->size);
        close(file->fd);
    }
    free(file->path);
    *file = (struct kl_mapped_file){0};
}

bool kl_mapped_file_identity(const struct kl_mapped_file *file, struct kl_file_identity *now)
{
    struct stat st;
    if (file->data == NULL || fstat(file->fd, &st) != 0)
        return false;
    *now = identity_of(&st);
    return true;
}

void kl_mapped_file_hold(const struct kl_mapped_file *file)
{
    if (file->data != NULL)
        (void)flock(file->fd, LOCK_SH | LOCK_NB);
}

static void advise(const struct kl_mapped_file *file, size_t offset, size_t len, int advice)
{
    if (file->data == NULL || offset >= file->size)
        return;
    if (len > file->size - offset)
        len = file->size - offset;
    size_t start = offset & ~(kl_memory_page() - 1);
    madvise((void *)(uintptr_t)(file->data + start), len + (offset - start), advice);
}

void kl_mapped_file_will_need(const struct kl_mapped_file *file, size_t offset, size_t len)
{
    advise(file, offset, len, MADV_WILLNEED);
}

void kl_mapped_file_dont_need(const struct kl_mapped_file *file, size_t offset, size_t len)
{
    advise(file, offset, len, MADV_DONTNEED);
}

bool kl_mapped_file_read(const struct kl_mapped_file *file, size_t offset, size_t len, void *out)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(file->fd, (uint8_t *)out + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}
