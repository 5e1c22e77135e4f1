#include "format/gguf_parser.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/not_gguf.h"

/* Far above what a model has (Qwen2.5-0.5B: 26 keys). */
#define MAX_KEYS         512
#define MIN_KEY_BYTES    (8 + 1 + 4 + 1)         /* key length, key, type, value */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* name, n_dims, one dimension, type, offset */

static enum kl_status read_count(struct kl_gguf_parser *p, const char *what, uint64_t max,
                                 size_t record_bytes, size_t *out)
{
    uint64_t count;
    enum kl_status status = kl_gguf_read_u64(p, what, &count);
    if (status != KL_OK)
        return status;
    if (count > max)
        return kl_fail(p->err, KL_ERR_LIMIT, "%s: expected at most %" PRIu64 ", found %" PRIu64,
                       what, max, count);
    if (count * record_bytes > kl_reader_left(&p->reader))
        return kl_fail(p->err, KL_ERR_FORMAT,
                       "%s: %" PRIu64 " entries do not fit in the %zu bytes that are left of the "
                       "file; it is truncated or damaged, get it again",
                       what, count, kl_reader_left(&p->reader));
    *out = (size_t)count;
    return KL_OK;
}

enum kl_status kl_gguf_read_head(struct kl_gguf_parser *p)
{
    const uint8_t *magic;
    uint32_t version;
    if (p->size == 0 || memcmp(p->data, "GGUF", p->size < 4 ? p->size : 4) != 0)
        return kl_fail_not_gguf(p->data, p->size, p->err);
    if (!kl_read_bytes(&p->reader, 4, &magic))
        return kl_gguf_fail_short(p, "the magic number");
    enum kl_status status = kl_gguf_read_u32(p, "the version", &version);
    if (status != KL_OK)
        return status;
    if (version == 1)
        return kl_fail(p->err, KL_ERR_UNSUPPORTED,
                       "version: expected 2 or 3, found 1 (of 2023, with 32-bit counts); convert "
                       "the model again");
    if (version != 0 && (version & 0xFFFF) == 0)
        return kl_fail(p->err, KL_ERR_UNSUPPORTED,
                       "version: this is a big-endian GGUF file; get the little-endian one");
    if (version != 2 && version != 3)
        return kl_fail(p->err, KL_ERR_UNSUPPORTED, "version: expected 2 or 3, found %" PRIu32,
                       version);
    status = read_count(p, "n_tensors", KL_GGUF_MAX_TENSORS, MIN_TENSOR_BYTES, &p->gguf->n_tensors);
    if (status == KL_OK)
        status = read_count(p, "n_kv", MAX_KEYS, MIN_KEY_BYTES, &p->gguf->n_entries);
    return status;
}

static enum kl_status allocate(struct kl_gguf *g, struct kl_error *err)
{
    /* one more of each, since an allocation of 0 bytes may return NULL without having failed */
    g->places = calloc(g->n_tensors + 1, sizeof g->places[0]);
    g->by_name = calloc(g->n_tensors + 1, sizeof(struct kl_gguf_place *));
    g->entries = calloc(g->n_entries + 1, sizeof g->entries[0]);
    if (g->places == NULL || g->by_name == NULL || g->entries == NULL)
        return kl_fail_memory(err, "the tensor directory",
                              (g->n_tensors + 1) *
                                      (sizeof g->places[0] + sizeof(struct kl_gguf_place *)) +
                                  (g->n_entries + 1) * sizeof g->entries[0]);
    return KL_OK;
}

static enum kl_status parse(struct kl_gguf_parser *p)
{
    struct kl_gguf *g = p->gguf;
    uint64_t alignment, header_size;
    enum kl_status status = kl_gguf_read_head(p);
    if (status == KL_OK)
        status = allocate(g, p->err);
    if (status == KL_OK)
        status = kl_gguf_read_entries(p);
    if (status == KL_OK)
        status = kl_gguf_find_alignment(p, &alignment);
    if (status == KL_OK)
        status = kl_gguf_read_tensors(p, alignment);
    if (status != KL_OK)
        return status;

    /* the padding before the data may only be missing when there are no data */
    if (!kl_align_up(p->reader.pos, alignment, &header_size) || header_size > p->size) {
        if (g->n_tensors > 0)
            return kl_gguf_fail_short(p, "the tensor data");
        header_size = p->size;
    }
    p->header_size = (size_t)header_size;
    g->header_hash = kl_hash64(p->data, p->header_size, 0);
    return kl_gguf_place_tensors(p);
}

enum kl_status kl_gguf_read_file(const struct kl_gguf *g, size_t i, struct kl_gguf *one,
                                 size_t *budget, struct kl_error *err)
{
    struct kl_mapped_part part = kl_mapped_file_part(&g->file, i);
    /* an empty file has no address */
    const uint8_t *data = part.begin > 0 ? g->file.data + part.begin : g->file.data;
    struct kl_gguf_parser parser = {.gguf = one, .data = data, .size = part.size, .err = err};
    parser.reader.data = parser.data;
    parser.reader.size = part.size < *budget ? part.size : *budget;
    enum kl_status status = parse(&parser);
    *budget -= parser.reader.pos < *budget ? parser.reader.pos : *budget;
    if (status != KL_OK)
        kl_error_prefix(err, "%.200s", part.path);
    return status;
}

void kl_gguf_forget(struct kl_gguf *one)
{
    free(one->places);
    free(one->by_name);
    free(one->entries);
    *one = (struct kl_gguf){.file = one->file};
}
