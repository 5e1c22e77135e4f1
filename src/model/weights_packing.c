#include "model/weights_packing.h"

#include <stdlib.h>
#include <string.h>

/* Progress is reported after this many bytes: some milliseconds of work. */
#define REPORT_BYTES ((uint64_t)4 << 20)

enum kl_status kl_packing_begin(struct kl_packing *p, const struct kl_gguf *gguf,
                                struct kl_error *err)
{
    p->progress.done = p->progress.reported = 0;
    if (p->pool != NULL)
        return KL_OK;
    enum kl_status status = kl_tensor_digests_init(&p->digests, gguf, err);
    return status == KL_OK ? kl_pool_open(p->n_threads, &p->pool, err) : status;
}

void kl_packing_end(struct kl_packing *p)
{
    kl_tensor_digests_release(&p->digests);
    if (p->pool != NULL)
        kl_pool_close(p->pool);
}

enum kl_status kl_packing_report(struct kl_packing_progress *p, struct kl_error *err)
{
    p->reported = p->done;
    if (p->report != NULL && !p->report(p->context, KL_MODEL_PACKING, p->done, p->total))
        return kl_fail(err, KL_ERR_CANCELLED, "cancelled while the weights were packed");
    return KL_OK;
}

/* The row of the file that becomes row `row` of the packed matrix. */
static size_t source_row(const struct kl_declared_matrix *d, size_t row)
{
    size_t dim = d->neighbours_dim, i = row % dim, half = dim / 2;
    return row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

/* The n rows of a panel, from `first` on: in the file if they are adjacent there, otherwise copied
 * to `rows`. */
static const uint8_t *group_rows(const struct kl_declared_matrix *d, size_t first, size_t n,
                                 size_t row_bytes, uint8_t *rows)
{
    if (d->neighbours_dim == 0)
        return d->tensor->data + first * row_bytes;
    for (size_t r = 0; r < n; r++)
        memcpy(rows + r * row_bytes, d->tensor->data + source_row(d, first + r) * row_bytes,
               row_bytes);
    return rows;
}

/* Reads a tensor for its digest, and releases its pages. */
static void digest_tensor(const struct kl_weights *w, struct kl_packing *p,
                          const struct kl_gguf_tensor *t)
{
    const struct kl_mapped_file *file = kl_gguf_file(w->gguf);
    if (!w->known)
        kl_tensor_digests_add(&p->digests, t, p->pool);
    kl_mapped_file_dont_need(file, (size_t)(t->data - file->data), t->size);
}

enum kl_status kl_packing_matrix(struct kl_weights *w, const struct kl_declared_matrix *d,
                                 kl_pack_sink_fn *sink, void *context, struct kl_packing *p,
                                 struct kl_error *err)
{
    struct kl_packing_progress *progress = &p->progress;
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
            status = kl_packing_report(progress, err);
    }
    free(group);
    digest_tensor(w, p, d->tensor);
    return status;
}

/* Also stores the digest for the next start. */
enum kl_status kl_packing_digest(struct kl_weights *w, struct kl_packing *p, struct kl_error *err)
{
    const struct kl_mapped_file *file = kl_gguf_file(w->gguf);
    for (size_t i = 0; i < kl_gguf_n_tensors(w->gguf) && !w->known; i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(w->gguf, i);
        digest_tensor(w, p, t);
        size_t done = (size_t)(t->data - file->data) + t->size;
        if (p->progress.report != NULL && p->progress.done == 0 &&
            !p->progress.report(p->progress.context, KL_MODEL_READING, done, file->size))
            return kl_fail(err, KL_ERR_CANCELLED, "cancelled while the model file was read");
    }
    if (w->known)
        return KL_OK;
    w->content = kl_tensor_digests_all(&p->digests);
    w->known = true;
    if (w->packed_dir != NULL)
        kl_digest_remember(w->packed_dir, file, KL_DIGEST_TENSORS, &w->content, p->digests.since);
    return KL_OK;
}
