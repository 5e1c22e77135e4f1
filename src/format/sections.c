#include "format/sections.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cache_dir.h"
#include "base/hash.h"
#include "base/pool.h"

static const char magic[8] = {'K', 'I', 'N', 'G', 'L', 'E', 'T', 'W'};

enum { VERSION = 3, ALIGNMENT = 64 };

struct header {
    char magic[8];
    uint32_t version;
    uint32_t n_sections;
    uint64_t file_size;
    uint64_t directory_hash;
    struct kl_digest key;
};
_Static_assert(sizeof(struct header) == 64, "the header's size is part of the format");

struct entry {
    char name[KL_SECTION_NAME_SIZE];
    uint64_t offset;
    uint64_t size;
    uint64_t hash;
    uint64_t reserved;
};
_Static_assert(sizeof(struct entry) == 128, "the entry's size is part of the format");

/* The hash of a section is the hash of the checksums of its chunks, so that a section can be
 * written in pieces of any size and checked by several threads. */
enum { HASH_CHUNK = 1 << 20 };

/* Fletcher's checksum in 8 lanes of 64 bits, as ZFS protects its blocks (fletcher4): only
 * additions, so it is as fast as memory. It detects every change within one word and every exchange
 * of two words. */
static uint64_t chunk_checksum(const uint8_t *data, size_t size)
{
    enum { LANES = 8 };
    uint64_t sums[LANES] = {0}, sums_of_sums[LANES] = {0};
    size_t at = 0;
    for (; size - at >= sizeof sums; at += sizeof sums) {
        uint64_t words[LANES];
        memcpy(words, data + at, sizeof words);
        for (size_t i = 0; i < LANES; i++) {
            sums[i] += words[i];
            sums_of_sums[i] += sums[i];
        }
    }
    uint64_t hash = kl_hash64(data + at, size - at, kl_hash64(sums, sizeof sums, 0));
    return kl_hash64(sums_of_sums, sizeof sums_of_sums, hash);
}

static uint64_t add_chunk(uint64_t section_hash, uint64_t checksum)
{
    return kl_hash64(&checksum, sizeof checksum, section_hash);
}

void kl_sections_name(const struct kl_digest *source, uint32_t how, const char *suffix,
                      char name[KL_SECTIONS_NAME_SIZE])
{
    char digits[KL_DIGEST_DIGITS + 1];
    kl_digest_text(source, digits);
    snprintf(name, KL_SECTIONS_NAME_SIZE, "%s-%08x.%s", digits, (unsigned)how, suffix);
}

struct kl_digest kl_sections_key(const struct kl_digest *source, uint32_t how)
{
    struct kl_digest key;
    struct kl_sha256 h;
    kl_sha256_init(&h);
    kl_sha256_update(&h, source, sizeof *source);
    kl_sha256_update(&h, &how, sizeof how);
    kl_sha256_finish(&h, key.bytes);
    return key;
}

struct kl_sections_writer {
    int dir, fd;
    char path[PATH_MAX]; /* of the directory, for error texts */
    char temporary[NAME_MAX + 1];
    struct header header;
    struct entry *entries;
    size_t n_begun;
    uint64_t offset;
    uint8_t *buffer; /* HASH_CHUNK bytes, collected before they are hashed and written */
    size_t buffered;
};

static void writer_free(struct kl_sections_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    if (w->dir >= 0)
        close(w->dir);
    free(w->entries);
    free(w->buffer);
    free(w);
}

void kl_sections_abandon(struct kl_sections_writer *w)
{
    if (w == NULL)
        return;
    (void)unlinkat(w->dir, w->temporary, 0);
    writer_free(w);
}

static enum kl_status write_all(struct kl_sections_writer *w, const void *data, size_t len,
                                struct kl_error *err)
{
    enum kl_status status = kl_cache_write(w->fd, data, len, err);
    if (status != KL_OK)
        kl_error_prefix(err, "%s/%s", w->path, w->temporary);
    return status;
}

static enum kl_status seek(struct kl_sections_writer *w, uint64_t offset, struct kl_error *err)
{
    if (lseek(w->fd, (off_t)offset, SEEK_SET) < 0)
        return kl_fail_errno(err, "cannot write %s/%s", w->path, w->temporary);
    return KL_OK;
}

enum kl_status kl_sections_create(const char *dir, const char *temporary, size_t n_sections,
                                  struct kl_sections_writer **writer, struct kl_error *err)
{
    *writer = NULL;
    struct kl_sections_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return kl_fail_memory(err, "the writer of a file of sections", sizeof *w);
    w->dir = w->fd = -1;
    w->entries = calloc(n_sections, sizeof *w->entries);
    w->buffer = malloc(HASH_CHUNK);
    enum kl_status status = KL_OK;
    if (w->entries == NULL || w->buffer == NULL)
        status = kl_fail_memory(err, "the writer of a file of sections", HASH_CHUNK);
    else if (snprintf(w->path, sizeof w->path, "%s", dir) >= (int)sizeof w->path ||
             snprintf(w->temporary, sizeof w->temporary, "%s", temporary) >=
                 (int)sizeof w->temporary)
        status = kl_fail(err, KL_ERR_LIMIT, "the path %.200s... is too long", dir);
    else
        status = kl_cache_dir_open(dir, true, &w->dir, err);
    if (status == KL_OK)
        status = kl_cache_file_create(w->dir, temporary, &w->fd, err);
    if (status != KL_OK) {
        writer_free(w);
        return status;
    }
    memcpy(w->header.magic, magic, sizeof magic);
    w->header.version = VERSION;
    w->header.n_sections = (uint32_t)n_sections;
    /* header and directory are written last; until then the file has no valid header */
    w->offset = sizeof w->header + n_sections * sizeof *w->entries;
    status = seek(w, w->offset, err);
    if (status != KL_OK) {
        kl_sections_abandon(w);
        return status;
    }
    *writer = w;
    return KL_OK;
}

static enum kl_status flush_chunk(struct kl_sections_writer *w, struct kl_error *err)
{
    if (w->buffered == 0)
        return KL_OK;
    struct entry *e = &w->entries[w->n_begun - 1];
    e->hash = add_chunk(e->hash, chunk_checksum(w->buffer, w->buffered));
    enum kl_status status = write_all(w, w->buffer, w->buffered, err);
    w->offset += w->buffered;
    w->buffered = 0;
    return status;
}

enum kl_status kl_sections_begin(struct kl_sections_writer *w, const char *name,
                                 struct kl_error *err)
{
    static const uint8_t zeros[ALIGNMENT] = {0};
    assert(w->n_begun < w->header.n_sections && strlen(name) < KL_SECTION_NAME_SIZE);
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

enum kl_status kl_sections_write(struct kl_sections_writer *w, const void *data, size_t len,
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

enum kl_status kl_sections_finish(struct kl_sections_writer *w, const char *name,
                                  const struct kl_digest *key, struct kl_error *err)
{
    assert(w->n_begun == w->header.n_sections);
    enum kl_status status = flush_chunk(w, err);
    size_t directory_size = w->n_begun * sizeof *w->entries;
    w->header.key = *key;
    w->header.file_size = w->offset;
    w->header.directory_hash = kl_hash64(w->entries, directory_size, 0);
    if (status == KL_OK)
        status = seek(w, 0, err);
    if (status == KL_OK)
        status = write_all(w, &w->header, sizeof w->header, err);
    if (status == KL_OK)
        status = write_all(w, w->entries, directory_size, err);
    if (status != KL_OK) {
        kl_sections_abandon(w);
        return status;
    }
    status = kl_cache_file_keep(w->dir, w->fd, w->temporary, name, true, err);
    if (status != KL_OK)
        kl_error_prefix(err, "%s", w->path);
    writer_free(w);
    return status;
}

uint64_t kl_sections_size(const uint64_t *sizes, size_t n_sections)
{
    uint64_t size = sizeof(struct header) + n_sections * sizeof(struct entry);
    for (size_t i = 0; i < n_sections; i++)
        size += -size % ALIGNMENT + sizes[i];
    return size;
}

static struct entry entry_at(const struct kl_sections *file, size_t i)
{
    struct entry e;
    memcpy(&e, file->directory + i * sizeof e, sizeof e);
    return e;
}

static enum kl_status check_directory(const struct kl_sections *file, struct kl_error *err)
{
    for (size_t i = 0; i < file->n_sections; i++) {
        struct entry e = entry_at(file, i);
        uint64_t end;
        if (e.name[sizeof e.name - 1] != '\0' || e.offset % ALIGNMENT != 0 ||
            !kl_add(e.offset, e.size, &end) || end > file->map.size)
            return kl_fail(err, KL_ERR_FORMAT, "section %zu does not lie inside the file", i);
    }
    return KL_OK;
}

/* Opens the file and marks it as in use. */
static enum kl_status map(struct kl_mapped_file *map, const char *dir, const char *name,
                          const char *path, struct kl_error *err)
{
    int directory, fd;
    enum kl_status status = kl_cache_dir_open(dir, false, &directory, err);
    if (status != KL_OK)
        return status;
    status = kl_cache_file_open(directory, name, &fd, err);
    close(directory);
    if (status != KL_OK) {
        kl_error_prefix(err, "%s", dir);
        return status;
    }
    if (!kl_cache_file_use(fd)) {
        close(fd);
        return kl_fail(err, KL_ERR_NOT_FOUND, "%s is being removed", path);
    }
    return kl_mapped_file_take(map, fd, path, err);
}

enum kl_status kl_sections_open(struct kl_sections *file, const char *dir, const char *name,
                                const struct kl_digest *key, struct kl_error *err)
{
    char path[PATH_MAX];
    *file = (struct kl_sections){0};
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return kl_fail(err, KL_ERR_LIMIT, "the path %.200s... is too long", dir);
    enum kl_status status = map(&file->map, dir, name, path, err);
    if (status != KL_OK)
        return status;

    struct header h = {0};
    uint64_t directory_size = 0, directory_end = 0;
    size_t size = file->map.size;
    if (size >= sizeof h)
        memcpy(&h, file->map.data, sizeof h);
    if (size < sizeof h || memcmp(h.magic, magic, sizeof magic) != 0)
        status = kl_fail(err, KL_ERR_FORMAT, "it is not a file of sections");
    else if (h.version != VERSION || memcmp(&h.key, key, sizeof *key) != 0)
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
        status = check_directory(file, err);
    }
    if (status != KL_OK) {
        kl_error_prefix(err, "%s", path);
        kl_sections_close(file);
    }
    return status;
}

void kl_sections_close(struct kl_sections *file)
{
    kl_mapped_file_close(&file->map);
    *file = (struct kl_sections){0};
}

/* Chunks that the threads check between two calls of progress. The system reads ahead by itself, in
 * larger pages than if it were asked to. */
enum { CHECK_CHUNKS = 32 };

struct check {
    const struct kl_sections *file;
    size_t section, offset; /* of the next chunk; the offset is within the section */
    uint64_t hash;          /* of the section's chunks before that */
    struct chunk {
        const uint8_t *data;
        size_t size;
        size_t section;
        bool last; /* the last chunk of its section */
        uint64_t checksum;
    } chunks[CHECK_CHUNKS];
    size_t n_chunks;
};

/* Collects the next chunks of the file, across sections. */
static void take_chunks(struct check *c)
{
    c->n_chunks = 0;
    while (c->n_chunks < CHECK_CHUNKS && c->section < c->file->n_sections) {
        struct entry e = entry_at(c->file, c->section);
        size_t left = (size_t)e.size - c->offset;
        struct chunk *chunk = &c->chunks[c->n_chunks++];
        *chunk = (struct chunk){.data = c->file->map.data + e.offset + c->offset,
                                .size = left < HASH_CHUNK ? left : HASH_CHUNK,
                                .section = c->section,
                                .last = left <= HASH_CHUNK};
        c->offset += chunk->size;
        if (chunk->last) {
            c->section++;
            c->offset = 0;
        }
    }
}

static void checksum_item(void *context, size_t item, size_t worker)
{
    (void)worker;
    struct chunk *chunk = &((struct check *)context)->chunks[item];
    chunk->checksum = chunk_checksum(chunk->data, chunk->size);
}

static enum kl_status compare_chunks(struct check *c, struct kl_error *err)
{
    for (size_t i = 0; i < c->n_chunks; i++) {
        const struct chunk *chunk = &c->chunks[i];
        if (chunk->size > 0)
            c->hash = add_chunk(c->hash, chunk->checksum);
        if (!chunk->last)
            continue;
        struct entry e = entry_at(c->file, chunk->section);
        if (c->hash != e.hash)
            return kl_fail(err, KL_ERR_FORMAT, "%s: the checksum of section %s does not match",
                           c->file->map.path, e.name);
        c->hash = 0;
    }
    return KL_OK;
}

enum kl_status kl_sections_check(const struct kl_sections *file, size_t n_threads,
                                 bool (*progress)(void *context, uint64_t done, uint64_t total),
                                 void *context, struct kl_error *err)
{
    struct check c = {.file = file};
    struct kl_pool *pool = NULL;
    enum kl_status status = kl_pool_open(n_threads, &pool, err);
    while (status == KL_OK && c.section < file->n_sections) {
        take_chunks(&c);
        const struct chunk *last = &c.chunks[c.n_chunks - 1];
        size_t done = (size_t)(last->data - file->map.data) + last->size;
        kl_pool_run(pool, c.n_chunks, checksum_item, &c);
        status = compare_chunks(&c, err);
        if (status == KL_OK && progress != NULL && !progress(context, done, file->map.size))
            status =
                kl_fail(err, KL_ERR_CANCELLED, "%s: stopped while it was read", file->map.path);
    }
    if (pool != NULL)
        kl_pool_close(pool);
    return status;
}

enum kl_status kl_sections_find(const struct kl_sections *file, size_t i, const char *name,
                                size_t size, struct kl_section *out, struct kl_error *err)
{
    if (i >= file->n_sections)
        return kl_fail(err, KL_ERR_FORMAT, "%s: section %s is missing", file->map.path, name);
    struct entry e = entry_at(file, i);
    if (strcmp(e.name, name) != 0 || e.size != size)
        return kl_fail(err, KL_ERR_FORMAT,
                       "%s: section %zu: expected %s of %zu bytes, found %s of %llu bytes",
                       file->map.path, i, name, size, e.name, (unsigned long long)e.size);
    *out = (struct kl_section){file->map.data + e.offset, size};
    return KL_OK;
}
