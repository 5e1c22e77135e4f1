#include "format/packed.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/hash.h"

static const char magic[8] = {'K', 'I', 'N', 'G', 'L', 'E', 'T', 'W'};

enum { VERSION = 1, ALIGNMENT = 64 };

struct header {
    char magic[8];
    uint32_t version;
    uint32_t n_sections;
    uint64_t key;
    uint64_t file_size;
    uint64_t directory_hash;
    uint8_t reserved[24];
};
_Static_assert(sizeof(struct header) == 64, "the header's size is part of the format");

struct entry {
    char name[KL_PACKED_NAME_SIZE];
    uint64_t offset;
    uint64_t size;
    uint64_t hash;
    uint64_t reserved;
};
_Static_assert(sizeof(struct entry) == 128, "the entry's size is part of the format");

/* The hash of a section is taken over chunks of this size, so that it can be written in pieces
 * of any size and read in one go. */
enum { HASH_CHUNK = 1 << 20 };

struct kl_packed_writer {
    int fd;
    char path[PATH_MAX];
    char temporary[PATH_MAX];
    struct header header;
    struct entry *entries;
    size_t n_begun;
    uint64_t offset;
    uint8_t *buffer; /* HASH_CHUNK bytes, collected before they are hashed and written */
    size_t buffered;
};

static enum kl_status write_all(struct kl_packed_writer *w, const void *data, size_t len,
                                struct kl_error *err)
{
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(w->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kl_fail_errno(err, "cannot write %s", w->temporary);
        p += n;
        len -= (size_t)n;
    }
    return KL_OK;
}

static void writer_free(struct kl_packed_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->entries);
    free(w->buffer);
    free(w);
}

void kl_packed_abandon(struct kl_packed_writer *w)
{
    if (w == NULL)
        return;
    unlink(w->temporary);
    writer_free(w);
}

enum kl_status kl_packed_create(const char *path, uint64_t key, size_t n_sections,
                                struct kl_packed_writer **writer, struct kl_error *err)
{
    *writer = NULL;
    struct kl_packed_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return kl_fail_memory(err, "the packed file's writer", sizeof *w);
    w->fd = -1;
    w->entries = calloc(n_sections, sizeof *w->entries);
    w->buffer = malloc(HASH_CHUNK);
    int n = snprintf(w->path, sizeof w->path, "%s", path);
    int m = snprintf(w->temporary, sizeof w->temporary, "%s.%ld.tmp", path, (long)getpid());
    enum kl_status status = KL_OK;
    if (w->entries == NULL || w->buffer == NULL) {
        status = kl_fail_memory(err, "the packed file's writer", HASH_CHUNK);
    } else if (n >= (int)sizeof w->path || m >= (int)sizeof w->temporary) {
        status = kl_fail(err, KL_ERR_LIMIT, "the path %.200s... is too long", path);
    } else {
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (w->fd < 0)
            status = kl_fail_errno(err, "cannot create %s", w->temporary);
    }
    if (status == KL_OK) {
        memcpy(w->header.magic, magic, sizeof magic);
        w->header.version = VERSION;
        w->header.n_sections = (uint32_t)n_sections;
        w->header.key = key;
        /* header and directory are written last; until then the file has no valid header */
        w->offset = sizeof w->header + n_sections * sizeof *w->entries;
        if (lseek(w->fd, (off_t)w->offset, SEEK_SET) < 0)
            status = kl_fail_errno(err, "cannot write %s", w->temporary);
    }
    if (status != KL_OK) {
        if (w->fd >= 0)
            unlink(w->temporary);
        writer_free(w);
        return status;
    }
    *writer = w;
    return KL_OK;
}

static enum kl_status flush_chunk(struct kl_packed_writer *w, struct kl_error *err)
{
    if (w->buffered == 0)
        return KL_OK;
    struct entry *e = &w->entries[w->n_begun - 1];
    e->hash = kl_hash64(w->buffer, w->buffered, e->hash);
    enum kl_status status = write_all(w, w->buffer, w->buffered, err);
    w->offset += w->buffered;
    w->buffered = 0;
    return status;
}

enum kl_status kl_packed_begin(struct kl_packed_writer *w, const char *name, struct kl_error *err)
{
    static const uint8_t zeros[ALIGNMENT] = {0};
    assert(w->n_begun < w->header.n_sections && strlen(name) < KL_PACKED_NAME_SIZE);
    enum kl_status status = KL_OK;
    if (w->n_begun > 0)
        status = flush_chunk(w, err);
    size_t padding = (size_t)(-w->offset % ALIGNMENT);
    if (status == KL_OK)
        status = write_all(w, zeros, padding, err);
    w->offset += padding;
    struct entry *e = &w->entries[w->n_begun++];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->offset = w->offset;
    return status;
}

enum kl_status kl_packed_write(struct kl_packed_writer *w, const void *data, size_t len,
                               struct kl_error *err)
{
    const uint8_t *p = data;
    w->entries[w->n_begun - 1].size += len;
    while (len > 0) {
        size_t room = HASH_CHUNK - w->buffered;
        size_t n = len < room ? len : room;
        memcpy(w->buffer + w->buffered, p, n);
        w->buffered += n;
        p += n;
        len -= n;
        if (w->buffered == HASH_CHUNK) {
            enum kl_status status = flush_chunk(w, err);
            if (status != KL_OK)
                return status;
        }
    }
    return KL_OK;
}

/* A rename is only safe on disk when the directory is synced too. */
static void sync_directory(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

enum kl_status kl_packed_finish(struct kl_packed_writer *w, struct kl_error *err)
{
    assert(w->n_begun == w->header.n_sections);
    enum kl_status status = flush_chunk(w, err);
    size_t directory_size = w->n_begun * sizeof *w->entries;
    w->header.file_size = w->offset;
    w->header.directory_hash = kl_hash64(w->entries, directory_size, 0);
    if (status == KL_OK && lseek(w->fd, 0, SEEK_SET) < 0)
        status = kl_fail_errno(err, "cannot write %s", w->temporary);
    if (status == KL_OK)
        status = write_all(w, &w->header, sizeof w->header, err);
    if (status == KL_OK)
        status = write_all(w, w->entries, directory_size, err);
    if (status == KL_OK && fsync(w->fd) != 0)
        status = kl_fail_errno(err, "cannot write %s to the disk", w->temporary);
    if (status == KL_OK && rename(w->temporary, w->path) != 0)
        status = kl_fail_errno(err, "cannot rename %s to %s", w->temporary, w->path);
    if (status != KL_OK) {
        kl_packed_abandon(w);
        return status;
    }
    sync_directory(w->path);
    writer_free(w);
    return KL_OK;
}

static struct entry entry_at(const struct kl_packed_file *file, size_t i)
{
    struct entry e;
    memcpy(&e, file->directory + i * sizeof e, sizeof e);
    return e;
}

static uint64_t section_hash(const uint8_t *data, size_t size)
{
    uint64_t hash = 0;
    for (size_t at = 0; at < size; at += HASH_CHUNK)
        hash = kl_hash64(data + at, size - at < HASH_CHUNK ? size - at : HASH_CHUNK, hash);
    return hash;
}

static enum kl_status check_sections(const struct kl_packed_file *file, struct kl_error *err)
{
    for (size_t i = 0; i < file->n_sections; i++) {
        struct entry e = entry_at(file, i);
        uint64_t end;
        if (e.name[sizeof e.name - 1] != '\0' || !kl_add(e.offset, e.size, &end) ||
            end > file->map.size)
            return kl_fail(err, KL_ERR_FORMAT, "section %zu does not lie inside the file", i);
        if (section_hash(file->map.data + e.offset, (size_t)e.size) != e.hash)
            return kl_fail(err, KL_ERR_FORMAT, "the checksum of section %s does not match", e.name);
    }
    return KL_OK;
}

enum kl_status kl_packed_open(struct kl_packed_file *file, const char *path, uint64_t key,
                              struct kl_error *err)
{
    *file = (struct kl_packed_file){0};
    enum kl_status status = kl_mapped_file_open(&file->map, path, err);
    if (status != KL_OK)
        return status;

    struct header h = {0};
    uint64_t directory_size = 0, directory_end = 0;
    size_t size = file->map.size;
    if (size >= sizeof h)
        memcpy(&h, file->map.data, sizeof h);
    if (size < sizeof h || memcmp(h.magic, magic, sizeof magic) != 0)
        status = kl_fail(err, KL_ERR_FORMAT, "it does not begin as a packed file does");
    else if (h.version != VERSION || h.key != key)
        status = kl_fail(err, KL_ERR_NOT_FOUND, "it was made from another model or version");
    else if (h.file_size != size)
        status = kl_fail(err, KL_ERR_FORMAT, "it should be %llu bytes long and is %zu",
                         (unsigned long long)h.file_size, size);
    else if (!kl_mul(h.n_sections, sizeof(struct entry), &directory_size) ||
             !kl_add(directory_size, sizeof h, &directory_end) || directory_end > size ||
             kl_hash64(file->map.data + sizeof h, (size_t)directory_size, 0) != h.directory_hash)
        status = kl_fail(err, KL_ERR_FORMAT, "the checksum of its directory does not match");
    if (status == KL_OK) {
        file->directory = file->map.data + sizeof h;
        file->n_sections = h.n_sections;
        kl_mapped_file_will_need(&file->map, 0, size);
        status = check_sections(file, err);
    }
    if (status != KL_OK) {
        kl_error_prefix(err, "%s", path);
        kl_packed_close(file);
    }
    return status;
}

void kl_packed_close(struct kl_packed_file *file)
{
    kl_mapped_file_close(&file->map);
    *file = (struct kl_packed_file){0};
}

enum kl_status kl_packed_section(const struct kl_packed_file *file, size_t i, const char *name,
                                 size_t size, struct kl_packed_section *out, struct kl_error *err)
{
    if (i >= file->n_sections)
        return kl_fail(err, KL_ERR_FORMAT, "%s: section %s is missing", file->map.path, name);
    struct entry e = entry_at(file, i);
    if (strcmp(e.name, name) != 0 || e.size != size)
        return kl_fail(err, KL_ERR_FORMAT,
                       "%s: section %zu: expected %s of %zu bytes, found %s of %llu bytes",
                       file->map.path, i, name, size, e.name, (unsigned long long)e.size);
    *out = (struct kl_packed_section){file->map.data + e.offset, size};
    return KL_OK;
}
