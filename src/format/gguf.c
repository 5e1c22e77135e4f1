#include "format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/gguf_parser.h"
#include "format/not_gguf.h"

/* Far above what a model has (Qwen2.5-0.5B: 291 tensors, 26 keys). */
#define MAX_TENSORS      4096
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

/* Reads the magic number, the version and the counts. */
static enum kl_status read_head(struct kl_gguf_parser *p)
{
    const uint8_t *magic;
    uint32_t version;
    size_t size = p->gguf->file.size;
    if (size == 0 || memcmp(p->gguf->file.data, "GGUF", size < 4 ? size : 4) != 0)
        return kl_fail_not_gguf(p->gguf->file.data, size, p->err);
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
    status = read_count(p, "n_tensors", MAX_TENSORS, MIN_TENSOR_BYTES, &p->gguf->n_tensors);
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
    enum kl_status status = read_head(p);
    if (status == KL_OK)
        status = allocate(g, p->err);
    if (status == KL_OK)
        status = kl_gguf_read_entries(p);
    if (status == KL_OK)
        status = kl_gguf_refuse_part(p);
    if (status == KL_OK)
        status = kl_gguf_find_alignment(p, &alignment);
    if (status == KL_OK)
        status = kl_gguf_read_tensors(p, alignment);
    if (status != KL_OK)
        return status;

    /* the padding before the data may only be missing when there are no data */
    if (!kl_align_up(p->reader.pos, alignment, &header_size) || header_size > g->file.size) {
        if (g->n_tensors > 0)
            return kl_gguf_fail_short(p, "the tensor data");
        header_size = g->file.size;
    }
    g->header_size = (size_t)header_size;
    g->header_hash = kl_hash64(g->file.data, g->header_size, 0);
    return kl_gguf_place_tensors(p);
}

enum kl_status kl_gguf_open(const char *path, struct kl_gguf **out, struct kl_error *err)
{
    *out = NULL;
    struct kl_gguf *g = calloc(1, sizeof *g);
    if (g == NULL)
        return kl_fail_memory(err, "a model file", sizeof *g);
    enum kl_status status = kl_mapped_file_open(&g->file, path, err);
    if (status != KL_OK)
        goto fail;
    kl_mapped_file_hold(&g->file);

    struct kl_gguf_parser parser = {.gguf = g, .err = err};
    parser.reader.data = g->file.data;
    parser.reader.size = g->file.size < KL_GGUF_MAX_METADATA ? g->file.size : KL_GGUF_MAX_METADATA;
    status = parse(&parser);
    if (status != KL_OK) {
        kl_error_prefix(err, "%.200s", path);
        goto fail;
    }
    *out = g;
    return KL_OK;

fail:
    kl_gguf_close(g);
    return status;
}

void kl_gguf_close(struct kl_gguf *g)
{
    if (g == NULL)
        return;
    kl_mapped_file_close(&g->file);
    free(g->places);
    free(g->by_name);
    free(g->entries);
    free(g);
}
const struct kl_mapped_file *kl_gguf_file(const struct kl_gguf *g)
{
    return &g->file;
}

uint64_t kl_gguf_header_hash(const struct kl_gguf *g)
{
    return g->header_hash;
}
