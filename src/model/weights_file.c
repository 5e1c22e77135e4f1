/* The packed file of a model: named, mapped, checked, made. Where none can be kept, weights are
 * packed into memory. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "format/sections_dir.h"
#include "model/weights_packing.h"

static enum kl_status file_sink(void *context, const void *data, size_t len, struct kl_error *err)
{
    return kl_sections_write(context, data, len, err);
}

static void section_name(const struct kl_declared_matrix *d, char name[KL_SECTION_NAME_SIZE])
{
    snprintf(name, KL_SECTION_NAME_SIZE, "%.*s", (int)d->tensor->name.len, d->tensor->name.data);
}

/* Identifies how the matrices of this model are packed: everything that changes the file and is
 * not in the digest of the tensors. */
static uint32_t packing_of(const struct kl_weights *w)
{
    const uint64_t version[] = {KL_PACKING_VERSION, KL_LANES};
    uint64_t hash = kl_hash64(version, sizeof version, 0);
    for (size_t i = 0; i < w->n_declared; i++) {
        const struct kl_declared_matrix *d = &w->declared[i];
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

/* While it is written, the file is named after the identity of the model file, whose content may
 * not be known yet. */
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

/* The size of the packed file. */
static uint64_t packed_size(const struct kl_weights *w)
{
    uint64_t *sizes = calloc(w->n_declared + 1, sizeof *sizes);
    if (sizes == NULL)
        return 0; /* equals the size of no file */
    for (size_t i = 0; i < w->n_declared; i++)
        sizes[i] = kl_matrix_bytes(w->declared[i].matrix);
    uint64_t size = kl_sections_size(sizes, w->n_declared);
    free(sizes);
    return size;
}

/* The content must not change between packing and digest. Names and modes may. */
static enum kl_status refuse_changed(const struct kl_mapped_file *file, struct kl_error *err)
{
    const struct kl_file_identity *then = &file->identity;
    struct kl_file_identity now;
    if (kl_mapped_file_identity(file, &now) && now.size == then->size &&
        now.modified == then->modified)
        return KL_OK;
    return kl_fail(err, KL_ERR_IO, "%s was changed while it was read", file->path);
}

static enum kl_status write_file(struct kl_weights *w, struct kl_packing *p, const char *temporary,
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
            status = kl_packing_matrix(w, &w->declared[i], file_sink, writer, p, err);
    }
    if (status == KL_OK)
        status = kl_packing_digest(w, p, err);
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

static void log_removed(const char *dir, struct kl_sections_removed removed)
{
    if (removed.files > 0)
        kl_info("removed %zu prepared files that no process uses (%.1f MB) from %s", removed.files,
                (double)removed.bytes / 1e6, dir);
}

static enum kl_status pack_to_file(struct kl_weights *w, struct kl_packing *p, struct kl_error *err)
{
    char temporary[KL_SECTIONS_NAME_SIZE + 4];
    temporary_name(w, temporary);
    log_removed(w->packed_dir, kl_sections_make_room(w->packed_dir, packed_size(w)));
    enum kl_status status = kl_packing_begin(p, w->gguf, err);
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

static enum kl_status pack_to_memory(struct kl_weights *w, struct kl_packing *p,
                                     struct kl_error *err)
{
    enum kl_status status = kl_packing_begin(p, w->gguf, err);
    if (status != KL_OK)
        return status;
    w->memory_size = (size_t)p->progress.total;
    void *memory =
        mmap(NULL, w->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return kl_fail_memory(err, "the weights", w->memory_size);
    kl_memory_prefer_huge_pages(memory, w->memory_size);
    w->memory = memory;
    uint8_t *place = memory;
    for (size_t i = 0; i < w->n_declared; i++) {
        w->declared[i].matrix->data = place;
        status = kl_packing_matrix(w, &w->declared[i], memory_sink, &place, p, err);
        if (status != KL_OK)
            return status;
    }
    return kl_packing_digest(w, p, err);
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
    if (status == KL_OK)
        kl_memory_prefer_huge_pages(w->packed.map.data, w->packed.map.size);
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

/* As map_file, but a missing file is no failure: kl_weights_prepare makes it. */
static void try_file(struct kl_weights *w)
{
    struct kl_error why = {0};
    if (!w->known)
        w->known =
            kl_digest_recall(w->packed_dir, kl_gguf_file(w->gguf), KL_DIGEST_TENSORS, &w->content);
    if (w->known && map_file(w, &why) == KL_ERR_FORMAT)
        warn_of_damage(&why);
}

/* With a tensor that is not used, we would compute something else than the model. */
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
    const struct kl_packing_progress *p = context;
    return p->report == NULL || p->report(p->context, KL_MODEL_READING, done, total);
}

/* Waits a moment while another process packs the same weights. */
static enum kl_status wait_for_other(struct kl_packing_progress *progress, struct kl_error *err)
{
    const struct timespec moment = {.tv_nsec = 50 * 1000 * 1000};
    nanosleep(&moment, NULL);
    return kl_packing_report(progress, err);
}

/* If a file of the right size exists, it may be the packed form of this model under the digest of
 * its content: reading the model file is less work than packing it. */
static enum kl_status look_for_same(struct kl_weights *w, struct kl_packing *p,
                                    struct kl_error *err)
{
    if (w->known || !kl_sections_has_size(w->packed_dir, packed_size(w)))
        return KL_OK;
    enum kl_status status = kl_packing_begin(p, w->gguf, err);
    if (status == KL_OK)
        status = kl_packing_digest(w, p, err);
    if (status == KL_OK)
        try_file(w);
    return status;
}

/* Makes the packed file and maps it. A file that it replaces is removed first, since there may be
 * no room for both. */
static enum kl_status make_file(struct kl_weights *w, struct kl_packing *p, struct kl_error *err)
{
    if (w->known)
        remove_file(w);
    enum kl_status status = pack_to_file(w, p, err);
    if (status == KL_OK)
        status = map_file(w, err);
    if (status == KL_OK)
        log_removed(w->packed_dir, kl_sections_trim(w->packed_dir, KL_SECTIONS_KEEP));
    return status;
}

/* Checks the packed file that is mapped, or makes one. */
static enum kl_status prepare_file(struct kl_weights *w, struct kl_packing *p, struct kl_error *err)
{
    /* many times as long as packing takes; the other process may be stopped */
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

static enum kl_status prepare(struct kl_weights *w, struct kl_packing *p, struct kl_error *err)
{
    if (w->packed_dir != NULL) {
        struct kl_error why = {0};
        enum kl_status status = prepare_file(w, p, &why);
        if (status == KL_OK)
            return KL_OK;
        if (status == KL_ERR_CANCELLED)
            return kl_fail(err, status, "%s", why.text);
        kl_sections_close(&w->packed);
        kl_warning("the packed weights cannot be kept, so they are packed into memory at each "
                   "start (%llu MB of it): %s",
                   (unsigned long long)(p->progress.total / 1000000), why.text);
    }
    return pack_to_memory(w, p, err);
}

enum kl_status kl_weights_prepare(struct kl_weights *w, size_t n_threads,
                                  kl_model_progress_fn *report_fn, void *context,
                                  struct kl_error *err)
{
    struct kl_packing p = {
        .n_threads = n_threads,
        .progress = {.report = report_fn, .context = context, .total = kl_weights_bytes(w)}};
    enum kl_status status = prepare(w, &p, err);
    kl_packing_end(&p);
    return status;
}
