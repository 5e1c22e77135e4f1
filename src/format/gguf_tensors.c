#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_parser.h"

#define MAX_NAME_LEN 64 /* the format's own limit for tensor names */
#define MAX_DIM      ((uint64_t)1 << 40)

const char *kl_gguf_foreign_type(uint32_t id)
{
    static const char *const names[] = {
        [9] = "Q8_1",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [19] = "IQ1_S",
        [22] = "IQ2_S", [24] = "I8",    [25] = "I16",     [26] = "I32",    [27] = "I64",
        [28] = "F64",   [29] = "IQ1_M", [39] = "MXFP4",
    };
    if (id < sizeof names / sizeof names[0] && names[id] != NULL)
        return names[id];
    return "unknown";
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Dimensions and type, and from them the size in bytes. */
static enum kl_status read_shape(struct kl_gguf_parser *p, struct kl_gguf_tensor *t)
{
    enum kl_status status = kl_gguf_read_u32(p, "n_dims", &t->n_dims);
    if (status != KL_OK)
        return status;
    if (t->n_dims < 1 || t->n_dims > KL_GGUF_MAX_DIMS)
        return kl_fail(p->err, KL_ERR_FORMAT, "n_dims: expected 1 to %d, found %" PRIu32,
                       KL_GGUF_MAX_DIMS, t->n_dims);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < KL_GGUF_MAX_DIMS; i++) {
        t->dims[i] = 1;
        if (i >= t->n_dims)
            continue;
        status = kl_gguf_read_u64(p, "a dimension", &t->dims[i]);
        if (status != KL_OK)
            return status;
        if (t->dims[i] < 1 || t->dims[i] > MAX_DIM)
            return kl_fail(p->err, KL_ERR_FORMAT,
                           "dimension %" PRIu32 ": expected 1 to %" PRIu64 ", found %" PRIu64, i,
                           MAX_DIM, t->dims[i]);
        if (!kl_mul(elements, t->dims[i], &elements))
            return kl_fail(p->err, KL_ERR_FORMAT,
                           "the dimensions: their product does not fit in 64 bits");
    }

    uint32_t id;
    status = kl_gguf_read_u32(p, "the type", &id);
    if (status != KL_OK)
        return status;
    t->type = kl_quant_type(id);
    if (t->type == NULL)
        return kl_fail(p->err, KL_ERR_UNSUPPORTED,
                       "type: %s (%" PRIu32 ") is not supported; supported are %s",
                       kl_gguf_foreign_type(id), id, kl_quant_names());
    if (t->dims[0] % t->type->block_elements != 0)
        return kl_fail(p->err, KL_ERR_FORMAT,
                       "row length: expected a multiple of %" PRIu32 " for %s, found %" PRIu64,
                       t->type->block_elements, t->type->name, t->dims[0]);
    uint64_t bytes;
    if (!kl_mul(elements / t->type->block_elements, t->type->block_bytes, &bytes))
        return kl_fail(p->err, KL_ERR_FORMAT, "size: the bytes do not fit in 64 bits");
    t->size = (size_t)bytes;
    return KL_OK;
}

enum kl_status kl_gguf_read_tensors(struct kl_gguf_parser *p, uint64_t alignment)
{
    struct kl_gguf *g = p->gguf;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct kl_gguf_place *place = &g->places[i];
        enum kl_status status =
            kl_gguf_read_name(p, "a tensor name", MAX_NAME_LEN, &place->tensor.name);
        if (status != KL_OK)
            return status;
        status = read_shape(p, &place->tensor);
        if (status == KL_OK)
            status = kl_gguf_read_u64(p, "the offset", &place->offset);
        if (status == KL_OK && place->offset % alignment != 0)
            status =
                kl_fail(p->err, KL_ERR_FORMAT,
                        "offset: expected a multiple of the alignment %" PRIu64 ", found %" PRIu64,
                        alignment, place->offset);
        if (status != KL_OK) {
            kl_error_prefix(p->err, "tensor %.*s", KL_GGUF_SHOW(place->tensor.name));
            return status;
        }
    }
    return KL_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct kl_gguf_place *x = *(struct kl_gguf_place *const *)a,
                               *y = *(struct kl_gguf_place *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int compare_names(const void *a, const void *b)
{
    const struct kl_gguf_place *x = *(struct kl_gguf_place *const *)a,
                               *y = *(struct kl_gguf_place *const *)b;
    return kl_gguf_compare(x->tensor.name, y->tensor.name);
}

enum kl_status kl_gguf_place_tensors(struct kl_gguf_parser *p)
{
    struct kl_gguf *g = p->gguf;
    uint64_t room = p->size - p->header_size;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct kl_gguf_place *place = &g->places[i];
        struct kl_gguf_tensor *t = &place->tensor;
        if (place->offset > room || t->size > room - place->offset)
            return kl_fail(p->err, KL_ERR_FORMAT,
                           "tensor %.*s: expected %zu bytes at offset %" PRIu64
                           " of the tensor data, found only %" PRIu64
                           " bytes of it in the file; it is truncated or damaged, get it again",
                           KL_GGUF_SHOW(t->name), t->size, place->offset, room);
        t->data = p->data + p->header_size + place->offset;
        g->by_name[i] = place;
    }
    if (g->n_tensors == 0)
        return KL_OK;

    struct kl_gguf_place **sorted = g->by_name;
    qsort(sorted, g->n_tensors, sizeof(struct kl_gguf_place *), compare_offsets);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (sorted[i]->offset - sorted[i - 1]->offset < sorted[i - 1]->tensor.size)
            return kl_fail(p->err, KL_ERR_FORMAT,
                           "tensors %.*s and %.*s: their data overlap at offset %" PRIu64,
                           KL_GGUF_SHOW(sorted[i - 1]->tensor.name),
                           KL_GGUF_SHOW(sorted[i]->tensor.name), sorted[i]->offset);
    return KL_OK;
}

enum kl_status kl_gguf_sort_tensors(struct kl_gguf *g, struct kl_error *err)
{
    struct kl_gguf_place **sorted = g->by_name;
    for (size_t i = 0; i < g->n_tensors; i++)
        sorted[i] = &g->places[i];
    if (g->n_tensors > 0)
        qsort(sorted, g->n_tensors, sizeof(struct kl_gguf_place *), compare_names);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (kl_gguf_same(sorted[i - 1]->tensor.name, sorted[i]->tensor.name))
            return kl_fail(err, KL_ERR_FORMAT, "tensor %.*s: expected once, found a duplicate",
                           KL_GGUF_SHOW(sorted[i]->tensor.name));
    return KL_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

size_t kl_gguf_n_tensors(const struct kl_gguf *g)
{
    return g->n_tensors;
}

const struct kl_gguf_tensor *kl_gguf_tensor_at(const struct kl_gguf *g, size_t i)
{
    assert(i < g->n_tensors);
    return &g->places[i].tensor;
}

size_t kl_gguf_tensor_index(const struct kl_gguf *g, const struct kl_gguf_tensor *tensor)
{
    _Static_assert(offsetof(struct kl_gguf_place, tensor) == 0, "a tensor is where its slot is");
    return (size_t)((const struct kl_gguf_place *)(const void *)tensor - g->places);
}

const struct kl_gguf_tensor *kl_gguf_tensor(const struct kl_gguf *g, const char *name)
{
    struct kl_gguf_place wanted = {.tensor.name = {name, strlen(name)}};
    const struct kl_gguf_place *key = &wanted;
    if (g->n_tensors == 0)
        return NULL;
    struct kl_gguf_place *const *found =
        bsearch(&key, g->by_name, g->n_tensors, sizeof(struct kl_gguf_place *), compare_names);
    return found != NULL ? &(*found)->tensor : NULL;
}
