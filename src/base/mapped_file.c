#include "base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The mappings that there are, for a signal handler that may interrupt anything: a slot is claimed
 * first, and holds an address only while everything else in it is valid. */
static struct mapping {
    atomic_bool claimed;
    _Atomic(uintptr_t) begin; /* 0: nothing here */
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

enum kl_status kl_mapped_file_open(struct kl_mapped_file *file, const char *path,
                                   struct kl_error *err)
{
    *file = (struct kl_mapped_file){0};
    enum kl_status status = KL_OK;
    /* O_NONBLOCK: a named pipe is to be refused, not waited for */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return kl_fail_errno(err, "cannot open %s", path);

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
    file->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
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

static void advise(const struct kl_mapped_file *file, size_t offset, size_t len, int advice)
{
    if (file->data == NULL || offset >= file->size)
        return;
    if (len > file->size - offset)
        len = file->size - offset;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t start = offset & ~(page - 1);
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
