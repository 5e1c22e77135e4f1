#include "model/weights.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "format/sections_dir.h"

struct declared {
    const struct kl_gguf_tensor *tensor;
    struct kl_matrix *matrix;
    size_t neighbours_dim; /* of heads whose rows are reordered; 0: they are not */
};

enum kl_status kl_weights_init(struct kl_weights *w, const struct kl_gguf *gguf,
                               struct kl_error *err)
{
    *w = (struct kl_weights){.gguf = gguf};
    size_t n = kl_gguf_n_tensors(gguf);
    /* every one-dimensional tensor may be a vector; padded, so that each starts at 32 bytes */
    for (size_t i = 0; i < n; i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(gguf, i);
        if (t->n_dims == 1)
            w->vectors_size += ((size_t)t->dims[0] + 7) & ~(size_t)7;
    }
    /* each tensor is asked for once; one that is the embedding table and the head, which may be
     * packed in two parts, three times */
    w->max_used = n + 2;
    w->declared = calloc(w->max_used, sizeof *w->declared);
    w->vectors = aligned_alloc(32, (w->vectors_size + 8) * sizeof(float));
    w->used = calloc(w->max_used, sizeof *w->used);
    if (w->declared == NULL || w->used == NULL || w->vectors == NULL) {
        kl_weights_release(w);
        return kl_fail_memory(err, "norms and biases", w->vectors_size * sizeof(float));
    }
    return KL_OK;
}

void kl_weights_release(struct kl_weights *w)
{
    kl_sections_close(&w->packed);
    free(w->packed_dir);
    if (w->memory != NULL)
        munmap(w->memory, w->memory_size);
    free(w->declared);
    free(w->used);
    free(w->vectors);
    *w = (struct kl_weights){0};
}

/* The tensor of that name, if it has exactly this shape. */
static enum kl_status find_tensor(struct kl_weights *w, const char *name, size_t n_rows, size_t k,
                                  const struct kl_gguf_tensor **out, struct kl_error *err)
{
    const struct kl_gguf_tensor *t = kl_gguf_tensor(w->gguf, name);
    if (t == NULL)
        return kl_fail(err, KL_ERR_FORMAT, "the tensor %s is missing", name);
    if (t->dims[0] != k || t->dims[1] != n_rows || t->dims[2] != 1 || t->dims[3] != 1)
        return kl_fail(err, KL_ERR_FORMAT,
                       "tensor %s: expected the shape [%zu, %zu], found [%llu, %llu, %llu, %llu]",
                       name, k, n_rows, (unsigned long long)t->dims[0],
                       (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
                       (unsigned long long)t->dims[3]);
    *out = t;
    assert(w->n_used < w->max_used);
    w->used[w->n_used++] = t;
    return KL_OK;
}

enum kl_status kl_weights_table(struct kl_weights *w, size_t n_rows, size_t k,
                                const struct kl_gguf_tensor **out, const char *name,
                                struct kl_error *err)
{
    return find_tensor(w, name, n_rows, k, out, err);
}

enum kl_status kl_weights_matrix(struct kl_weights *w, size_t n_rows, size_t k,
                                 struct kl_matrix *out, struct kl_error *err, const char *format,
                                 ...)
{
    char name[KL_SECTION_NAME_SIZE];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);

    const struct kl_gguf_tensor *t = kl_gguf_tensor(w->gguf, name);
    return kl_weights_matrix_as(w, t != NULL ? t->type->id : KL_F32, n_rows, k, out, err, name);
}

enum kl_status kl_weights_matrix_as(struct kl_weights *w, enum kl_quant type, size_t n_rows,
                                    size_t k, struct kl_matrix *out, struct kl_error *err,
                                    const char *name)
{
    const struct kl_gguf_tensor *t = NULL;
    enum kl_status status = find_tensor(w, name, n_rows, k, &t, err);
    if (status != KL_OK)
        return status;
    if (kl_packed_group_bytes(type, k) == 0)
        return kl_fail(err, KL_ERR_UNSUPPORTED, "tensor %s: rows of %zu in %s can not be packed",
                       name, k, t->type->name);
    *out = (struct kl_matrix){
        .type = type, .n_rows = n_rows, .k = k, .n_groups = (n_rows + KL_LANES - 1) / KL_LANES};
    assert(w->n_declared < w->max_used);
    w->declared[w->n_declared++] = (struct declared){.tensor = t, .matrix = out};
    return KL_OK;
}

enum kl_status kl_weights_neighbours(struct kl_weights *w, size_t dim, size_t n_rows, size_t k,
                                     struct kl_matrix *out, struct kl_error *err, const char *name)
{
    assert(dim % 2 == 0 && n_rows % dim == 0);
    enum kl_status status = kl_weights_matrix(w, n_rows, k, out, err, "%s", name);
    if (status == KL_OK)
        w->declared[w->n_declared - 1].neighbours_dim = dim;
    return status;
}

enum kl_status kl_weights_vector(struct kl_weights *w, size_t n, const float **out,
                                 struct kl_error *err, const char *format, ...)
{
    char name[KL_SECTION_NAME_SIZE];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);

    const struct kl_gguf_tensor *t = NULL;
    enum kl_status status = find_tensor(w, name, 1, n, &t, err);
    if (status != KL_OK)
        return status;
    if (t->n_dims != 1)
        return kl_fail(err, KL_ERR_FORMAT, "tensor %s: expected 1 dimension, found %u", name,
                       t->n_dims);
    float *place = w->vectors + w->vectors_used;
    t->type->dequantize(t->data, n / t->type->block_elements, place);
    w->vectors_used += (n + 7) & ~(size_t)7;
    *out = place;
    return KL_OK;
}

/* A tensor that nobody asked for means that we would compute something else than the model. */
static enum kl_status refuse_superfluous(const struct kl_weights *w, struct kl_error *err)
{
    for (size_t i = 0; i < kl_gguf_n_tensors(w->gguf); i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(w->gguf, i);
        bool asked_for = false;
        for (size_t j = 0; j < w->n_used && !asked_for; j++)
            asked_for = w->used[j] == t;
        if (!asked_for)
            return kl_fail(err, KL_ERR_UNSUPPORTED,
                           "tensor %.*s is not part of this architecture as we know it",
                           (int)t->name.len, t->name.data);
    }
    return KL_OK;
}

uint64_t kl_matrix_bytes(const struct kl_matrix *m)
{
    return m->n_groups * kl_packed_group_bytes(m->type, m->k);
}

uint64_t kl_weights_bytes(const struct kl_weights *w)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < w->n_declared; i++)
        bytes += kl_matrix_bytes(w->declared[i].matrix);
    return bytes;
}

/* ---- packing -----------------------------------------------------------------------------------
 */

/* Takes the packed bytes of a matrix, group by group. */
typedef enum kl_status sink_fn(void *context, const void *data, size_t len, struct kl_error *err);

/* Said how far packing is after so many bytes: some milliseconds of work. */
#define REPORT_BYTES ((uint64_t)4 << 20)

struct progress {
    kl_model_progress_fn *report; /* may be NULL */
    void *context;
    uint64_t done, reported, total;
};

/* What packing works with. */
struct packing {
    struct progress progress;
    size_t n_threads;
    struct kl_pool *pool;             /* computes the digests; NULL: no packing has begun */
    struct kl_tensor_digests digests; /* of what was read so far; not where they are known */
};

static enum kl_status begin_packing(struct packing *p, const struct kl_gguf *gguf,
                                    struct kl_error *err)
{
    p->progress.done = p->progress.reported = 0;
    if (p->pool != NULL)
        return KL_OK;
    enum kl_status status = kl_tensor_digests_init(&p->digests, gguf, err);
    return status == KL_OK ? kl_pool_open(p->n_threads, &p->pool, err) : status;
}

static void end_packing(struct packing *p)
{
    kl_tensor_digests_release(&p->digests);
    if (p->pool != NULL)
        kl_pool_close(p->pool);
}

static enum kl_status report(struct progress *p, struct kl_error *err)
{
    p->reported = p->done;
    if (p->report != NULL && !p->report(p->context, KL_MODEL_PACKING, p->done, p->total))
        return kl_fail(err, KL_ERR_CANCELLED, "given up while the weights were prepared");
    return KL_OK;
}

/* Where row `row` of what is packed stands in the file. */
static size_t source_row(const struct declared *d, size_t row)
{
    size_t dim = d->neighbours_dim, i = row % dim, half = dim / 2;
    return row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

/* The n rows of a group, from `first` on: in the file if they follow each other there, else
 * copied to `rows`. */
static const uint8_t *group_rows(const struct declared *d, size_t first, size_t n, size_t row_bytes,
                                 uint8_t *rows)
{
    if (d->neighbours_dim == 0)
        return d->tensor->data + first * row_bytes;
    for (size_t r = 0; r < n; r++)
        memcpy(rows + r * row_bytes, d->tensor->data + source_row(d, first + r) * row_bytes,
               row_bytes);
    return rows;
}

/* Reads a tensor for its digest, and gives its pages back. */
static void digest_tensor(const struct kl_weights *w, struct packing *p,
                          const struct kl_gguf_tensor *t)
{
    const struct kl_mapped_file *file = kl_gguf_file(w->gguf);
    if (!w->known)
        kl_tensor_digests_add(&p->digests, t, p->pool);
    kl_mapped_file_dont_need(file, (size_t)(t->data - file->data), t->size);
}

static enum kl_status pack_matrix(struct kl_weights *w, const struct declared *d, sink_fn *sink,
                                  void *context, struct packing *p, struct kl_error *err)
{
    struct progress *progress = &p->progress;
    const struct kl_matrix *m = d->matrix;
    const struct kl_mapped_file *file = kl_gguf_file(w->gguf);
    size_t group_bytes = kl_packed_group_bytes(m->type, m->k);
    size_t row_bytes = m->k / d->tensor->type->block_elements * d->tensor->type->block_bytes;
    uint8_t *group = malloc(group_bytes + KL_LANES * row_bytes), *rows = group + group_bytes;
    if (group == NULL)
        return kl_fail_memory(err, "packing weights", group_bytes + KL_LANES * row_bytes);
    kl_mapped_file_will_need(file, (size_t)(d->tensor->data - file->data), d->tensor->size);
    enum kl_status status = KL_OK;
    for (size_t g = 0; g < m->n_groups && status == KL_OK; g++) {
        size_t left = m->n_rows - g * KL_LANES, n = left < KL_LANES ? left : KL_LANES;
        kl_pack_group(m->type, group_rows(d, g * KL_LANES, n, row_bytes, rows), n, m->k, group);
        status = sink(context, group, group_bytes, err);
        progress->done += group_bytes;
        if (status == KL_OK && (progress->done - progress->reported >= REPORT_BYTES ||
                                progress->done == progress->total))
            status = report(progress, err);
    }
    free(group);
    digest_tensor(w, p, d->tensor);
    return status;
}

static enum kl_status file_sink(void *context, const void *data, size_t len, struct kl_error *err)
{
    return kl_sections_write(context, data, len, err);
}

static void section_name(const struct declared *d, char name[KL_SECTION_NAME_SIZE])
{
    snprintf(name, KL_SECTION_NAME_SIZE, "%.*s", (int)d->tensor->name.len, d->tensor->name.data);
}

/* How the matrices of this model are packed, whatever they hold: what is not in the digest of the
 * tensors, and changes the file. */
static uint32_t packing_of(const struct kl_weights *w)
{
    const uint64_t version[] = {KL_PACKING_VERSION, KL_LANES};
    uint64_t hash = kl_hash64(version, sizeof version, 0);
    for (size_t i = 0; i < w->n_declared; i++) {
        const struct declared *d = &w->declared[i];
        const uint64_t facts[] = {kl_gguf_tensor_index(w->gguf, d->tensor), d->matrix->type,
                                  d->neighbours_dim};
        hash = kl_hash64(facts, sizeof facts, hash);
    }
    return (uint32_t)(hash ^ hash >> 32);
}

static void packed_name(const struct kl_weights *w, char name[KL_SECTIONS_NAME_SIZE])
{
    kl_sections_name(&w->content, packing_of(w), KL_SECTIONS_WEIGHTS, name);
}

/* While it is written the file is named after the model file: what that holds may not be known. */
static void temporary_name(const struct kl_weights *w, char name[KL_SECTIONS_NAME_SIZE + 4])
{
    struct kl_digest digest;
    struct kl_sha256 h;
    kl_sha256_init(&h);
    kl_sha256_update(&h, &kl_gguf_file(w->gguf)->identity, sizeof(struct kl_file_identity));
    kl_sha256_finish(&h, digest.bytes);
    kl_sections_name(&digest, packing_of(w), KL_SECTIONS_WEIGHTS, name);
    strcat(name, ".tmp");
}

/* Reads all tensors of which there is no digest yet, and remembers that of the file. */
static enum kl_status learn_content(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    const struct kl_mapped_file *file = kl_gguf_file(w->gguf);
    for (size_t i = 0; i < kl_gguf_n_tensors(w->gguf) && !w->known; i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(w->gguf, i);
        digest_tensor(w, p, t);
        size_t done = (size_t)(t->data - file->data) + t->size;
        if (p->progress.report != NULL && p->progress.done == 0 &&
            !p->progress.report(p->progress.context, KL_MODEL_READING, done, file->size))
            return kl_fail(err, KL_ERR_CANCELLED, "given up while the model file was read");
    }
    if (w->known)
        return KL_OK;
    w->content = kl_tensor_digests_all(&p->digests);
    w->known = true;
    if (w->packed_dir != NULL)
        kl_digest_remember(w->packed_dir, file, KL_DIGEST_TENSORS, &w->content, p->digests.since);
    return KL_OK;
}

/* The size of the packed file. */
static uint64_t packed_size(const struct kl_weights *w)
{
    uint64_t *sizes = calloc(w->n_declared + 1, sizeof *sizes);
    if (sizes == NULL)
        return 0; /* fits no file, and needs no room */
    for (size_t i = 0; i < w->n_declared; i++)
        sizes[i] = kl_matrix_bytes(w->declared[i].matrix);
    uint64_t size = kl_sections_size(sizes, w->n_declared);
    free(sizes);
    return size;
}

/* What was packed must be what the digest is of. Names and modes may change meanwhile. */
static enum kl_status refuse_changed(const struct kl_mapped_file *file, struct kl_error *err)
{
    const struct kl_file_identity *then = &file->identity;
    struct kl_file_identity now;
    if (kl_mapped_file_identity(file, &now) && now.size == then->size &&
        now.modified == then->modified)
        return KL_OK;
    return kl_fail(err, KL_ERR_IO, "%s was changed while it was read", file->path);
}

static enum kl_status write_file(struct kl_weights *w, struct packing *p, const char *temporary,
                                 struct kl_error *err)
{
    struct kl_sections_writer *writer = NULL;
    enum kl_status status =
        kl_sections_create(w->packed_dir, temporary, w->n_declared, &writer, err);
    if (status != KL_OK)
        return status;
    for (size_t i = 0; i < w->n_declared && status == KL_OK; i++) {
        char name[KL_SECTION_NAME_SIZE];
        section_name(&w->declared[i], name);
        status = kl_sections_begin(writer, name, err);
        if (status == KL_OK)
            status = pack_matrix(w, &w->declared[i], file_sink, writer, p, err);
    }
    if (status == KL_OK)
        status = learn_content(w, p, err);
    if (status == KL_OK)
        status = refuse_changed(kl_gguf_file(w->gguf), err);
    if (status != KL_OK) {
        kl_sections_abandon(writer);
        return status;
    }
    char name[KL_SECTIONS_NAME_SIZE];
    packed_name(w, name);
    struct kl_digest key = kl_sections_key(&w->content, packing_of(w));
    return kl_sections_finish(writer, name, &key, err);
}

static void say_removed(const char *dir, struct kl_sections_removed removed)
{
    if (removed.files > 0)
        kl_info("removed %zu prepared files that no process uses (%.1f MB) from %s", removed.files,
                (double)removed.bytes / 1e6, dir);
}

static enum kl_status pack_to_file(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    char temporary[KL_SECTIONS_NAME_SIZE + 4];
    temporary_name(w, temporary);
    say_removed(w->packed_dir, kl_sections_make_room(w->packed_dir, packed_size(w)));
    enum kl_status status = begin_packing(p, w->gguf, err);
    return status == KL_OK ? write_file(w, p, temporary, err) : status;
}

static enum kl_status memory_sink(void *context, const void *data, size_t len, struct kl_error *err)
{
    (void)err;
    uint8_t **place = context;
    memcpy(*place, data, len);
    *place += len;
    return KL_OK;
}

static enum kl_status pack_to_memory(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    enum kl_status status = begin_packing(p, w->gguf, err);
    if (status != KL_OK)
        return status;
    w->memory_size = (size_t)p->progress.total;
    void *memory =
        mmap(NULL, w->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return kl_fail_memory(err, "the weights", w->memory_size);
    w->memory = memory;
    uint8_t *place = memory;
    for (size_t i = 0; i < w->n_declared; i++) {
        w->declared[i].matrix->data = place;
        status = pack_matrix(w, &w->declared[i], memory_sink, &place, p, err);
        if (status != KL_OK)
            return status;
    }
    return learn_content(w, p, err);
}

/* ---- the packed file ---------------------------------------------------------------------------
 */

/* Maps the packed file; its sections are not checked yet. */
static enum kl_status map_file(struct kl_weights *w, struct kl_error *err)
{
    char file_name[KL_SECTIONS_NAME_SIZE];
    packed_name(w, file_name);
    struct kl_digest key = kl_sections_key(&w->content, packing_of(w));
    enum kl_status status = kl_sections_open(&w->packed, w->packed_dir, file_name, &key, err);
    for (size_t i = 0; i < w->n_declared && status == KL_OK; i++) {
        char name[KL_SECTION_NAME_SIZE];
        struct kl_section section = {0};
        section_name(&w->declared[i], name);
        status = kl_sections_find(&w->packed, i, name, kl_matrix_bytes(w->declared[i].matrix),
                                  &section, err);
        w->declared[i].matrix->data = section.data;
    }
    if (status != KL_OK)
        kl_sections_close(&w->packed);
    return status;
}

static bool is_mapped(const struct kl_weights *w)
{
    return w->packed.map.data != NULL;
}

static void remove_file(const struct kl_weights *w)
{
    char name[KL_SECTIONS_NAME_SIZE];
    packed_name(w, name);
    kl_sections_remove(w->packed_dir, name);
}

static void warn_of_damage(const struct kl_error *why)
{
    kl_warning("the packed weights are damaged and are made again: %s", why->text);
}

/* As map_file, but that there is no file is no failure: it will be made when warming. */
static void try_file(struct kl_weights *w)
{
    struct kl_error why = {0};
    if (!w->known)
        w->known =
            kl_digest_recall(w->packed_dir, kl_gguf_file(w->gguf), KL_DIGEST_TENSORS, &w->content);
    if (w->known && map_file(w, &why) == KL_ERR_FORMAT)
        warn_of_damage(&why);
}

enum kl_status kl_weights_open(struct kl_weights *w, const char *packed_dir, struct kl_error *err)
{
    enum kl_status status = refuse_superfluous(w, err);
    if (status != KL_OK || packed_dir == NULL)
        return status;
    w->packed_dir = strdup(packed_dir);
    if (w->packed_dir == NULL)
        return kl_fail_memory(err, "a file name", PATH_MAX);
    try_file(w);
    return KL_OK;
}

static bool report_reading(void *context, uint64_t done, uint64_t total)
{
    const struct progress *p = context;
    return p->report == NULL || p->report(p->context, KL_MODEL_READING, done, total);
}

/* Another process is packing the same weights: a moment's wait for it. */
static enum kl_status wait_for_other(struct progress *progress, struct kl_error *err)
{
    const struct timespec moment = {.tv_nsec = 50 * 1000 * 1000};
    nanosleep(&moment, NULL);
    return report(progress, err);
}

/* Where a file of the size that ours would have is there, it may be ours, under the name of what
 * the model file holds: reading that is less than packing it. */
static enum kl_status look_for_same(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    if (w->known || !kl_sections_has_size(w->packed_dir, packed_size(w)))
        return KL_OK;
    enum kl_status status = begin_packing(p, w->gguf, err);
    if (status == KL_OK)
        status = learn_content(w, p, err);
    if (status == KL_OK)
        try_file(w);
    return status;
}

/* Makes the packed file and maps it. What it replaces is of no use, and there may be no room for
 * both. */
static enum kl_status make_file(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    if (w->known)
        remove_file(w);
    enum kl_status status = pack_to_file(w, p, err);
    if (status == KL_OK)
        status = map_file(w, err);
    if (status == KL_OK)
        say_removed(w->packed_dir, kl_sections_trim(w->packed_dir, KL_SECTIONS_KEEP));
    return status;
}

/* Checks the packed file that is mapped, or makes one. */
static enum kl_status warm_file(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    /* many times what packing takes; the other one may have been stopped */
    const double patience = 120; /* seconds */
    uint64_t start = kl_now_ns();
    enum kl_status status = look_for_same(w, p, err);
    while (status == KL_OK) {
        if (is_mapped(w)) {
            status = kl_sections_check(&w->packed, p->n_threads, report_reading, &p->progress, err);
            if (status != KL_ERR_FORMAT)
                return status;
            warn_of_damage(err);
            kl_sections_close(&w->packed);
        }
        status = make_file(w, p, err);
        if (status != KL_ERR_BUSY || kl_seconds_since(start) > patience)
            return status;
        status = wait_for_other(&p->progress, err);
        if (status == KL_OK)
            try_file(w);
    }
    return status;
}

static enum kl_status warm(struct kl_weights *w, struct packing *p, struct kl_error *err)
{
    if (w->packed_dir != NULL) {
        struct kl_error why = {0};
        enum kl_status status = warm_file(w, p, &why);
        if (status == KL_OK)
            return KL_OK;
        if (status == KL_ERR_CANCELLED)
            return kl_fail(err, status, "%s", why.text);
        kl_sections_close(&w->packed);
        kl_warning("the prepared weights can not be kept, so they are prepared in memory at each "
                   "start (%llu MB of it): %s",
                   (unsigned long long)(p->progress.total / 1000000), why.text);
    }
    return pack_to_memory(w, p, err);
}

enum kl_status kl_weights_prepare(struct kl_weights *w, size_t n_threads,
                                  kl_model_progress_fn *report_fn, void *context,
                                  struct kl_error *err)
{
    struct packing p = {
        .n_threads = n_threads,
        .progress = {.report = report_fn, .context = context, .total = kl_weights_bytes(w)}};
    enum kl_status status = warm(w, &p, err);
    end_packing(&p);
    return status;
}
