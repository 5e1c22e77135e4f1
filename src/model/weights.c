#include "model/weights.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "model/weights_packing.h"

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
    /* each tensor is declared once; the one that is both embedding table and head, which may be
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

/* Finds the tensor of that name, which must have exactly this shape. */
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
        return kl_fail(err, KL_ERR_UNSUPPORTED, "tensor %s: rows of %zu in %s cannot be packed",
                       name, k, t->type->name);
    *out = (struct kl_matrix){
        .type = type, .n_rows = n_rows, .k = k, .n_groups = (n_rows + KL_LANES - 1) / KL_LANES};
    assert(w->n_declared < w->max_used);
    w->declared[w->n_declared++] = (struct kl_declared_matrix){.tensor = t, .matrix = out};
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
