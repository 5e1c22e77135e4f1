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

#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"

/* The open mappings, for a signal handler that may interrupt any code: an entry is claimed first,
 * and has an address only while all else in it is valid. */
static struct mapping {
    atomic_bool claimed;
    _Atomic(uintptr_t) begin; /* 0: unused */
    _Atomic(size_t) size;
    _Atomic(const char *) path;
} mappings[KL_MAX_MAPPED_FILES];

static void remember(const uint8_t *data, size_t size, const char *path)
{
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES; i++) {
        struct mapping *m = &mappings[i];
        if (atomic_exchange(&m->claimed, true))
            continue;
        atomic_store(&m->path, path);
        atomic_store(&m->size, size);
        atomic_store(&m->begin, (uintptr_t)data);
        return;
    }
}

static void forget(const uint8_t *data)
{
    for (size_t i = 0; i < KL_MAX_MAPPED_FILES; i++) {
        struct mapping *m = &mappings[i];
        if (atomic_load(&m->begin) == (uintptr_t)data) {
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
        remember(file->data, file->size, file->path);
out:
    if (fd >= 0)
        close(fd);
    return status;
}

/* ---- several files --------------------------------------------------------------------------- */

/* Opens one file of a mapping and finds its size. */
static enum kl_status open_part(struct kl_mapped_part *part, const char *path, struct kl_error *err)
{
    struct stat st;
    part->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (part->fd < 0)
        return kl_fail_errno(err, "cannot open %s", path);
    part->path = strdup(path);
    if (part->path == NULL)
        return kl_fail_memory(err, "a file name", strlen(path) + 1);
    if (fstat(part->fd, &st) != 0)
        return kl_fail_errno(err, "cannot read the size of %s", path);
    if (!S_ISREG(st.st_mode))
        return kl_fail(err, KL_ERR_INVALID, "%s is not a regular file", path);
    if (st.st_size == 0)
        return kl_fail(err, KL_ERR_FORMAT, "%s is empty; get it again", path);
    part->size = (size_t)st.st_size;
    return KL_OK;
}

/* Reads the identity of all files of a mapping; the content of each, and which they are, is in the
 * hash. */
static bool identity_of_all(const struct kl_mapped_file *file, struct kl_file_identity *now)
{
    struct kl_file_identity all = {0};
    uint64_t hash = 0;
    for (size_t i = 0; i < file->n_parts; i++) {
        struct stat st;
        if (fstat(file->parts[i].fd, &st) != 0)
            return false;
        struct kl_file_identity one = identity_of(&st);
        const uint64_t facts[] = {one.device, one.inode, one.size, (uint64_t)one.modified};
        hash = kl_hash64(facts, sizeof facts, hash);
        all.size += one.size;
        if (i == 0) {
            all.device = one.device;
            all.inode = one.inode;
            all.changed = one.changed;
        }
        all.changed = one.changed > all.changed ? one.changed : all.changed;
    }
    all.modified = (int64_t)(hash >> 1);
    *now = all;
    return true;
}

/* Reserves the addresses of all files, then puts each in its place. */
static enum kl_status map_parts(struct kl_mapped_file *file, struct kl_error *err)
{
    void *all =
        mmap(NULL, file->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return kl_fail_errno(err, "cannot map %s", file->parts[0].path);
    file->data = all;
    for (size_t i = 0; i < file->n_parts; i++) {
        struct kl_mapped_part *part = &file->parts[i];
        if (mmap((uint8_t *)all + part->begin, part->size, PROT_READ, MAP_SHARED | MAP_FIXED,
                 part->fd, 0) == MAP_FAILED)
            return kl_fail_errno(err, "cannot map %s", part->path);
        remember(file->data + part->begin, part->size, part->path);
    }
    file->path = file->parts[0].path;
    file->fd = file->parts[0].fd;
    if (!identity_of_all(file, &file->identity))
        return kl_fail_errno(err, "cannot read the size of %s", file->path);
    return KL_OK;
}

enum kl_status kl_mapped_file_join(struct kl_mapped_file *file, char *const *paths, size_t n,
                                   struct kl_error *err)
{
    enum kl_status status = KL_OK;
    *file = (struct kl_mapped_file){.parts = calloc(n + 1, sizeof *file->parts)};
    if (file->parts == NULL)
        return kl_fail_memory(err, "the names of files", (n + 1) * sizeof *file->parts);
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        uint64_t end;
        struct kl_mapped_part *part = &file->parts[file->n_parts++];
        status = open_part(part, paths[i], err);
        part->begin = file->size;
        if (status == KL_OK &&
            (!kl_add(part->begin, part->size, &end) || !kl_align_up(end, kl_memory_page(), &end)))
            status = kl_fail(err, KL_ERR_LIMIT, "%s is too large to be mapped", paths[i]);
        if (status == KL_OK)
            file->size = (size_t)end;
    }
    if (status == KL_OK)
        status = map_parts(file, err);
    if (status != KL_OK)
        kl_mapped_file_close(file);
    return status;
}

size_t kl_mapped_file_count(const struct kl_mapped_file *file)
{
    return file->n_parts > 0 ? file->n_parts : 1;
}

struct kl_mapped_part kl_mapped_file_part(const struct kl_mapped_file *file, size_t i)
{
    if (file->n_parts > 0)
        return file->parts[i];
    return (struct kl_mapped_part){.size = file->size, .path = file->path, .fd = file->fd};
}

/* ---- both ------------------------------------------------------------------------------------ */

void kl_mapped_file_close(struct kl_mapped_file *file)
{
    for (size_t i = 0; i < file->n_parts; i++) {
        const struct kl_mapped_part *part = &file->parts[i];
        if (file->data != NULL)
            forget(file->data + part->begin);
        if (part->fd >= 0)
            close(part->fd);
        free(part->path);
    }
    if (file->data != NULL) {
        forget(file->data);
        munmap((void *)(uintptr_t)file->data, file->size);
    }
    if (file->n_parts == 0) {
        if (file->data != NULL)
            close(file->fd);
        free(file->path);
    }
    free(file->parts);
    *file = (struct kl_mapped_file){0};
}

bool kl_mapped_file_identity(const struct kl_mapped_file *file, struct kl_file_identity *now)
{
    struct stat st;
    if (file->n_parts > 0)
        return identity_of_all(file, now);
    if (file->data == NULL || fstat(file->fd, &st) != 0)
        return false;
    *now = identity_of(&st);
    return true;
}

void kl_mapped_file_hold(const struct kl_mapped_file *file)
{
    for (size_t i = 0; file->data != NULL && i < kl_mapped_file_count(file); i++)
        (void)flock(kl_mapped_file_part(file, i).fd, LOCK_SH | LOCK_NB);
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
    struct kl_mapped_part part = kl_mapped_file_part(file, 0);
    for (size_t i = 1; i < file->n_parts && file->parts[i].begin <= offset; i++)
        part = file->parts[i];
    offset -= part.begin;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(part.fd, (uint8_t *)out + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}
