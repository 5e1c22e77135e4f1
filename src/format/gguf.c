#include "format/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "format/not_gguf.h"

/* Caps, all far above what a model has (Qwen2.5-0.5B: 291 tensors, 26 keys, 5.9 MB of metadata) and
 * low enough that a hostile file costs neither memory nor time. */
#define MAX_TENSORS      4096
#define MAX_KEYS         512
#define MAX_KEY_LEN      256
#define MAX_NAME_LEN     64                  /* the format's own limit for tensor names */
#define MAX_STRING_LEN   ((uint64_t)1 << 20) /* in an array; one alone may be all the metadata */
#define MAX_METADATA     ((size_t)64 << 20)  /* everything before the tensor data */
#define MAX_DIM          ((uint64_t)1 << 40)
#define MIN_ALIGNMENT    8
#define MAX_ALIGNMENT    4096
#define USUAL_ALIGNMENT  32
#define MIN_KEY_BYTES    (8 + 1 + 4 + 1)         /* key length, key, type, value */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* name, n_dims, one dimension, type, offset */

/* Arguments for "%.*s": names are checked to be printable before they get into a text, but a text
 * must have room for the rest of the sentence. */
#define SHOW(s) (int)((s).len < 80 ? (s).len : 80), (s).data

/* A scalar is kept as an array of one. */
struct entry {
    struct kl_gguf_string key;
    bool is_array;
    struct kl_gguf_array values;
};

struct slot {
    struct kl_gguf_tensor tensor;
    uint64_t offset; /* from the start of the tensor data */
};

struct kl_gguf {
    struct kl_mapped_file file;
    size_t header_size;   /* bytes before the tensor data */
    uint64_t header_hash; /* of them */
    size_t n_tensors;
    struct slot *slots;    /* in the order of the file */
    struct slot **by_name; /* the same, sorted */
    size_t n_entries;
    struct entry *entries; /* sorted by key */
};

static const struct {
    const char *name; /* for texts */
    size_t size;      /* smallest size as stored */
} value_types[] = {
    [KL_GGUF_U8] = {"u8", 1},        [KL_GGUF_I8] = {"i8", 1},     [KL_GGUF_U16] = {"u16", 2},
    [KL_GGUF_I16] = {"i16", 2},      [KL_GGUF_U32] = {"u32", 4},   [KL_GGUF_I32] = {"i32", 4},
    [KL_GGUF_F32] = {"f32", 4},      [KL_GGUF_BOOL] = {"bool", 1}, [KL_GGUF_STRING] = {"string", 8},
    [KL_GGUF_ARRAY] = {"array", 12}, [KL_GGUF_U64] = {"u64", 8},   [KL_GGUF_I64] = {"i64", 8},
    [KL_GGUF_F64] = {"f64", 8},
};
enum { N_VALUE_TYPES = sizeof value_types / sizeof value_types[0] };

/* Names of enum ggml_type that we do not have, for refusals. */
static const char *foreign_type_name(uint32_t id)
{
    static const char *const names[] = {
        [9] = "Q8_1",    [10] = "Q2_K",    [11] = "Q3_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
        [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [34] = "TQ1_0",  [35] = "TQ2_0",
        [39] = "MXFP4",
    };
    if (id < sizeof names / sizeof names[0] && names[id] != NULL)
        return names[id];
    return "unknown";
}

/* ---- reading -------------------------------------------------------------- */

/* One pass over the head of the file. Texts do not name the file: _open does. */
struct parser {
    struct kl_gguf *gguf;
    struct kl_reader reader;
    struct kl_error *err;
};

static bool same(struct kl_gguf_string a, struct kl_gguf_string b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool is_printable(struct kl_gguf_string s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] > 0x7E)
            return false;
    return true;
}

/* There are too few bytes for what comes next. */
static enum kl_status fail_short(struct parser *p, const char *what)
{
    if (p->reader.size < p->gguf->file.size)
        return kl_fail(p->err, KL_ERR_LIMIT,
                       "%s at byte %zu: the metadata is over the limit of %zu bytes", what,
                       p->reader.pos, p->reader.size);
    return kl_fail(p->err, KL_ERR_FORMAT,
                   "%s at byte %zu: the file ends too soon, after %zu bytes; it is truncated or "
                   "damaged, get it again",
                   what, p->reader.pos, p->reader.size);
}

static enum kl_status read_u32(struct parser *p, const char *what, uint32_t *out)
{
    return kl_read_u32(&p->reader, out) ? KL_OK : fail_short(p, what);
}

static enum kl_status read_u64(struct parser *p, const char *what, uint64_t *out)
{
    return kl_read_u64(&p->reader, out) ? KL_OK : fail_short(p, what);
}

/* A string of low..high bytes. */
static enum kl_status read_string(struct parser *p, const char *what, uint64_t low, uint64_t high,
                                  struct kl_gguf_string *out)
{
    size_t start = p->reader.pos;
    uint64_t len;
    const uint8_t *data;
    enum kl_status status = read_u64(p, what, &len);
    if (status != KL_OK)
        return status;
    if (len < low || len > high)
        return kl_fail(p->err, KL_ERR_FORMAT,
                       "%s at byte %zu: length: expected %" PRIu64 " to %" PRIu64
                       " bytes, found %" PRIu64,
                       what, start, low, high, len);
    if (!kl_read_bytes(&p->reader, len, &data))
        return fail_short(p, what);
    *out = (struct kl_gguf_string){(const char *)data, (size_t)len};
    return KL_OK;
}

/* The name of a key or a tensor: printable ASCII, so that it can be shown. */
static enum kl_status read_name(struct parser *p, const char *what, uint64_t max,
                                struct kl_gguf_string *out)
{
    size_t start = p->reader.pos;
    enum kl_status status = read_string(p, what, 1, max, out);
    if (status == KL_OK && !is_printable(*out))
        status = kl_fail(p->err, KL_ERR_FORMAT,
                         "%s at byte %zu: expected printable ASCII characters only", what, start);
    return status;
}

/* ---- metadata ------------------------------------------------------------- */

static enum kl_status read_value_type(struct parser *p, const char *what, bool array_allowed,
                                      enum kl_gguf_type *out)
{
    size_t start = p->reader.pos;
    uint32_t type;
    enum kl_status status = read_u32(p, what, &type);
    if (status != KL_OK)
        return status;
    if (type >= N_VALUE_TYPES)
        return kl_fail(p->err, KL_ERR_FORMAT,
                       "%s at byte %zu: expected a number from 0 to %d, found %" PRIu32, what,
                       start, N_VALUE_TYPES - 1, type);
    if (type == KL_GGUF_ARRAY && !array_allowed)
        return kl_fail(p->err, KL_ERR_UNSUPPORTED,
                       "%s at byte %zu: arrays of arrays are not supported", what, start);
    *out = (enum kl_gguf_type)type;
    return KL_OK;
}

/* values->len values of values->type, one after the other; max_len: of a string. */
static enum kl_status read_values(struct parser *p, uint64_t max_len, struct kl_gguf_array *values)
{
    size_t start = p->reader.pos;
    uint64_t bytes;
    /* also what bounds the loops below: no more rounds than bytes in the file */
    if (!kl_mul(values->len, value_types[values->type].size, &bytes) ||
        bytes > kl_reader_left(&p->reader))
        return fail_short(p, "the values");

    if (values->type == KL_GGUF_STRING) {
        struct kl_gguf_string ignored;
        for (uint64_t i = 0; i < values->len; i++) {
            enum kl_status status = read_string(p, "a string", 0, max_len, &ignored);
            if (status != KL_OK)
                return status;
        }
    } else {
        const uint8_t *data;
        kl_read_bytes(&p->reader, bytes, &data);
        for (uint64_t i = 0; values->type == KL_GGUF_BOOL && i < bytes; i++)
            if (data[i] > 1)
                return kl_fail(p->err, KL_ERR_FORMAT,
                               "a bool at byte %zu: expected 0 or 1, found %d", start + (size_t)i,
                               data[i]);
    }
    values->data = p->reader.data + start;
    values->size = p->reader.pos - start;
    return KL_OK;
}

static enum kl_status read_entry_value(struct parser *p, struct entry *entry)
{
    enum kl_status status = read_value_type(p, "the value type", true, &entry->values.type);
    if (status != KL_OK)
        return status;
    entry->values.len = 1;
    entry->is_array = entry->values.type == KL_GGUF_ARRAY;
    if (entry->is_array) {
        status = read_value_type(p, "the element type", false, &entry->values.type);
        if (status == KL_OK)
            status = read_u64(p, "the array length", &entry->values.len);
        if (status != KL_OK)
            return status;
    }
    /* a whole tokenizer.json of some MB is a string that is not used here */
    return read_values(p, entry->is_array ? MAX_STRING_LEN : MAX_METADATA, &entry->values);
}

static int compare_strings(struct kl_gguf_string a, struct kl_gguf_string b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static int compare_entries(const void *a, const void *b)
{
    return compare_strings(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static enum kl_status read_entries(struct parser *p)
{
    struct kl_gguf *g = p->gguf;
    for (size_t i = 0; i < g->n_entries; i++) {
        struct entry *entry = &g->entries[i];
        enum kl_status status = read_name(p, "a metadata key", MAX_KEY_LEN, &entry->key);
        if (status != KL_OK)
            return status;
        status = read_entry_value(p, entry);
        if (status != KL_OK) {
            kl_error_prefix(p->err, "key %.*s", SHOW(entry->key));
            return status;
        }
    }
    qsort(g->entries, g->n_entries, sizeof g->entries[0], compare_entries);
    for (size_t i = 1; i < g->n_entries; i++)
        if (same(g->entries[i - 1].key, g->entries[i].key))
            return kl_fail(p->err, KL_ERR_FORMAT, "key %.*s: expected once, found a duplicate",
                           SHOW(g->entries[i].key));
    return KL_OK;
}

/* NULL when there is none. */
static const struct entry *find_entry(const struct kl_gguf *g, const char *key)
{
    struct entry wanted = {.key = {key, strlen(key)}};
    if (g->n_entries == 0)
        return NULL;
    return bsearch(&wanted, g->entries, g->n_entries, sizeof g->entries[0], compare_entries);
}

/* A model of several files has its tokenizer in the first and its tensors in all of them. */
static enum kl_status refuse_part(struct parser *p)
{
    uint64_t count, number = 0;
    if (kl_gguf_u64(p->gguf, "split.count", 2, UINT16_MAX, &count, NULL) != KL_OK)
        return KL_OK;
    kl_gguf_u64(p->gguf, "split.no", 0, UINT16_MAX, &number, NULL);
    return kl_fail(p->err, KL_ERR_UNSUPPORTED,
                   "this is part %" PRIu64 " of %" PRIu64 " of a model in several files; make one "
                   "file of them with llama.cpp's 'llama-gguf-split --merge PART-1.gguf "
                   "WHOLE.gguf', and take that",
                   number + 1, count);
}

static enum kl_status find_alignment(struct parser *p, uint64_t *alignment)
{
    *alignment = USUAL_ALIGNMENT;
    const struct entry *entry = find_entry(p->gguf, "general.alignment");
    if (entry == NULL)
        return KL_OK;
    if (entry->is_array || entry->values.type != KL_GGUF_U32)
        return kl_fail(p->err, KL_ERR_FORMAT, "key general.alignment: expected a u32, found %s%s",
                       entry->is_array ? "an array of " : "a ",
                       value_types[entry->values.type].name);
    uint32_t a;
    memcpy(&a, entry->values.data, sizeof a);
    if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1)) != 0)
        return kl_fail(p->err, KL_ERR_FORMAT,
                       "key general.alignment: expected a power of two from %d to %d, "
                       "found %" PRIu32,
                       MIN_ALIGNMENT, MAX_ALIGNMENT, a);
    *alignment = a;
    return KL_OK;
}

/* ---- tensors -------------------------------------------------------------- */

/* Dimensions and type, and from them the size in bytes. */
static enum kl_status read_shape(struct parser *p, struct kl_gguf_tensor *t)
{
    enum kl_status status = read_u32(p, "n_dims", &t->n_dims);
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
        status = read_u64(p, "a dimension", &t->dims[i]);
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
    status = read_u32(p, "the type", &id);
    if (status != KL_OK)
        return status;
    t->type = kl_quant_type(id);
    if (t->type == NULL)
        return kl_fail(p->err, KL_ERR_UNSUPPORTED,
                       "type: %s (%" PRIu32 ") is not supported; supported are %s",
                       foreign_type_name(id), id, kl_quant_names());
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

static enum kl_status read_tensors(struct parser *p, uint64_t alignment)
{
    struct kl_gguf *g = p->gguf;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct slot *slot = &g->slots[i];
        enum kl_status status = read_name(p, "a tensor name", MAX_NAME_LEN, &slot->tensor.name);
        if (status != KL_OK)
            return status;
        status = read_shape(p, &slot->tensor);
        if (status == KL_OK)
            status = read_u64(p, "the offset", &slot->offset);
        if (status == KL_OK && slot->offset % alignment != 0)
            status =
                kl_fail(p->err, KL_ERR_FORMAT,
                        "offset: expected a multiple of the alignment %" PRIu64 ", found %" PRIu64,
                        alignment, slot->offset);
        if (status != KL_OK) {
            kl_error_prefix(p->err, "tensor %.*s", SHOW(slot->tensor.name));
            return status;
        }
    }
    return KL_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int compare_names(const void *a, const void *b)
{
    const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
    return compare_strings(x->tensor.name, y->tensor.name);
}

/* Sets data of every tensor: inside the file, none in another. */
static enum kl_status place_tensors(struct parser *p)
{
    struct kl_gguf *g = p->gguf;
    uint64_t room = g->file.size - g->header_size;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct slot *slot = &g->slots[i];
        struct kl_gguf_tensor *t = &slot->tensor;
        if (slot->offset > room || t->size > room - slot->offset)
            return kl_fail(p->err, KL_ERR_FORMAT,
                           "tensor %.*s: expected %zu bytes at offset %" PRIu64
                           " of the tensor data, found only %" PRIu64
                           " bytes of it in the file; it is truncated or damaged, get it again",
                           SHOW(t->name), t->size, slot->offset, room);
        t->data = g->file.data + g->header_size + slot->offset;
        g->by_name[i] = slot;
    }
    if (g->n_tensors == 0)
        return KL_OK;

    struct slot **sorted = g->by_name;
    qsort(sorted, g->n_tensors, sizeof(struct slot *), compare_offsets);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (sorted[i]->offset - sorted[i - 1]->offset < sorted[i - 1]->tensor.size)
            return kl_fail(p->err, KL_ERR_FORMAT,
                           "tensors %.*s and %.*s: their data overlap at offset %" PRIu64,
                           SHOW(sorted[i - 1]->tensor.name), SHOW(sorted[i]->tensor.name),
                           sorted[i]->offset);
    qsort(sorted, g->n_tensors, sizeof(struct slot *), compare_names);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (same(sorted[i - 1]->tensor.name, sorted[i]->tensor.name))
            return kl_fail(p->err, KL_ERR_FORMAT, "tensor %.*s: expected once, found a duplicate",
                           SHOW(sorted[i]->tensor.name));
    return KL_OK;
}

/* ---- open ----------------------------------------------------------------- */

static enum kl_status read_count(struct parser *p, const char *what, uint64_t max,
                                 size_t record_bytes, size_t *out)
{
    uint64_t count;
    enum kl_status status = read_u64(p, what, &count);
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

/* Magic, version, the counts. */
static enum kl_status read_head(struct parser *p)
{
    const uint8_t *magic;
    uint32_t version;
    size_t size = p->gguf->file.size;
    if (size == 0 || memcmp(p->gguf->file.data, "GGUF", size < 4 ? size : 4) != 0)
        return kl_fail_not_gguf(p->gguf->file.data, size, p->err);
    if (!kl_read_bytes(&p->reader, 4, &magic))
        return fail_short(p, "the magic number");
    enum kl_status status = read_u32(p, "the version", &version);
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
    /* one more of each: no allocation of 0 bytes, whose NULL would not be a failure */
    g->slots = calloc(g->n_tensors + 1, sizeof g->slots[0]);
    g->by_name = calloc(g->n_tensors + 1, sizeof(struct slot *));
    g->entries = calloc(g->n_entries + 1, sizeof g->entries[0]);
    if (g->slots == NULL || g->by_name == NULL || g->entries == NULL)
        return kl_fail_memory(err, "the tensor directory",
                              (g->n_tensors + 1) * (sizeof g->slots[0] + sizeof(struct slot *)) +
                                  (g->n_entries + 1) * sizeof g->entries[0]);
    return KL_OK;
}

static enum kl_status parse(struct parser *p)
{
    struct kl_gguf *g = p->gguf;
    uint64_t alignment, header_size;
    enum kl_status status = read_head(p);
    if (status == KL_OK)
        status = allocate(g, p->err);
    if (status == KL_OK)
        status = read_entries(p);
    if (status == KL_OK)
        status = refuse_part(p);
    if (status == KL_OK)
        status = find_alignment(p, &alignment);
    if (status == KL_OK)
        status = read_tensors(p, alignment);
    if (status != KL_OK)
        return status;

    /* the padding before the data may only be missing when there are no data */
    if (!kl_align_up(p->reader.pos, alignment, &header_size) || header_size > g->file.size) {
        if (g->n_tensors > 0)
            return fail_short(p, "the tensor data");
        header_size = g->file.size;
    }
    g->header_size = (size_t)header_size;
    g->header_hash = kl_hash64(g->file.data, g->header_size, 0);
    return place_tensors(p);
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

    struct parser parser = {.gguf = g, .err = err};
    parser.reader.data = g->file.data;
    parser.reader.size = g->file.size < MAX_METADATA ? g->file.size : MAX_METADATA;
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
    free(g->slots);
    free(g->by_name);
    free(g->entries);
    free(g);
}

/* ---- what is inside ------------------------------------------------------- */

const struct kl_mapped_file *kl_gguf_file(const struct kl_gguf *g)
{
    return &g->file;
}

uint64_t kl_gguf_header_hash(const struct kl_gguf *g)
{
    return g->header_hash;
}

size_t kl_gguf_n_tensors(const struct kl_gguf *g)
{
    return g->n_tensors;
}

const struct kl_gguf_tensor *kl_gguf_tensor_at(const struct kl_gguf *g, size_t i)
{
    assert(i < g->n_tensors);
    return &g->slots[i].tensor;
}

size_t kl_gguf_tensor_index(const struct kl_gguf *g, const struct kl_gguf_tensor *tensor)
{
    _Static_assert(offsetof(struct slot, tensor) == 0, "a tensor is where its slot is");
    return (size_t)((const struct slot *)(const void *)tensor - g->slots);
}

const struct kl_gguf_tensor *kl_gguf_tensor(const struct kl_gguf *g, const char *name)
{
    struct slot wanted = {.tensor.name = {name, strlen(name)}};
    const struct slot *key = &wanted;
    if (g->n_tensors == 0)
        return NULL;
    struct slot *const *found =
        bsearch(&key, g->by_name, g->n_tensors, sizeof(struct slot *), compare_names);
    return found != NULL ? &(*found)->tensor : NULL;
}

bool kl_gguf_has(const struct kl_gguf *g, const char *key)
{
    return find_entry(g, key) != NULL;
}

static enum kl_status fail_missing(const char *key, const char *expected, struct kl_error *err)
{
    return kl_fail(err, KL_ERR_NOT_FOUND, "key %.80s: expected %s, but the file has no such key",
                   key, expected);
}

static enum kl_status fail_type(const char *key, const char *expected, const struct entry *entry,
                                struct kl_error *err)
{
    return kl_fail(err, KL_ERR_FORMAT, "key %.80s: expected %s, found %s%s", key, expected,
                   entry->is_array ? "an array of " : "a single ",
                   value_types[entry->values.type].name);
}

/* Magnitude and sign of an integer of any type; false for other types. */
static bool integer_of(const struct entry *entry, bool *negative, uint64_t *magnitude)
{
    struct kl_reader r = {.data = entry->values.data, .size = entry->values.size};
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    int64_t value = 0;
    *negative = false;
    if (entry->is_array)
        return false;
    switch (entry->values.type) {
    case KL_GGUF_U8:
        kl_read_u8(&r, &u8);
        value = u8;
        break;
    case KL_GGUF_I8:
        kl_read_u8(&r, &u8);
        value = u8 < 128 ? u8 : u8 - 256;
        break;
    case KL_GGUF_U16:
        kl_read_u16(&r, &u16);
        value = u16;
        break;
    case KL_GGUF_I16:
        kl_read_u16(&r, &u16);
        value = (int16_t)u16;
        break;
    case KL_GGUF_U32:
        kl_read_u32(&r, &u32);
        value = u32;
        break;
    case KL_GGUF_I32:
        kl_read_u32(&r, &u32);
        value = (int32_t)u32;
        break;
    case KL_GGUF_I64:
        kl_read_u64(&r, &u64);
        value = (int64_t)u64;
        break;
    case KL_GGUF_U64:
        kl_read_u64(&r, magnitude);
        return true;
    default:
        return false;
    }
    *negative = value < 0;
    *magnitude = *negative ? 0 - (uint64_t)value : (uint64_t)value;
    return true;
}

enum kl_status kl_gguf_u64(const struct kl_gguf *g, const char *key, uint64_t low, uint64_t high,
                           uint64_t *out, struct kl_error *err)
{
    const struct entry *entry = find_entry(g, key);
    bool negative;
    uint64_t value;
    if (entry == NULL)
        return fail_missing(key, "an integer", err);
    if (!integer_of(entry, &negative, &value))
        return fail_type(key, "an integer", entry, err);
    if (negative || value < low || value > high)
        return kl_fail(err, KL_ERR_FORMAT,
                       "key %.80s: expected %" PRIu64 " to %" PRIu64 ", found %s%" PRIu64, key, low,
                       high, negative ? "-" : "", value);
    *out = value;
    return KL_OK;
}

enum kl_status kl_gguf_f64(const struct kl_gguf *g, const char *key, double low, double high,
                           double *out, struct kl_error *err)
{
    const struct entry *entry = find_entry(g, key);
    if (entry == NULL)
        return fail_missing(key, "a float", err);
    struct kl_reader r = {.data = entry->values.data, .size = entry->values.size};
    double value;
    float narrow;
    if (!entry->is_array && entry->values.type == KL_GGUF_F32) {
        kl_read_f32(&r, &narrow);
        value = (double)narrow;
    } else if (!entry->is_array && entry->values.type == KL_GGUF_F64) {
        kl_read_f64(&r, &value);
    } else {
        return fail_type(key, "a float", entry, err);
    }
    if (!isfinite(value) || value < low || value > high)
        return kl_fail(err, KL_ERR_FORMAT, "key %.80s: expected %g to %g, found %g", key, low, high,
                       value);
    *out = value;
    return KL_OK;
}

enum kl_status kl_gguf_bool(const struct kl_gguf *g, const char *key, bool *out,
                            struct kl_error *err)
{
    const struct entry *entry = find_entry(g, key);
    if (entry == NULL)
        return fail_missing(key, "a bool", err);
    if (entry->is_array || entry->values.type != KL_GGUF_BOOL)
        return fail_type(key, "a bool", entry, err);
    *out = entry->values.data[0] != 0;
    return KL_OK;
}

enum kl_status kl_gguf_string(const struct kl_gguf *g, const char *key, struct kl_gguf_string *out,
                              struct kl_error *err)
{
    const struct entry *entry = find_entry(g, key);
    size_t at = 0;
    if (entry == NULL)
        return fail_missing(key, "a string", err);
    if (entry->is_array || entry->values.type != KL_GGUF_STRING)
        return fail_type(key, "a string", entry, err);
    kl_gguf_array_next_string(&entry->values, &at, out);
    return KL_OK;
}

enum kl_status kl_gguf_array(const struct kl_gguf *g, const char *key, enum kl_gguf_type type,
                             struct kl_gguf_array *out, struct kl_error *err)
{
    const struct entry *entry = find_entry(g, key);
    char expected[32];
    snprintf(expected, sizeof expected, "an array of %s", value_types[type].name);
    if (entry == NULL)
        return fail_missing(key, expected, err);
    if (!entry->is_array || entry->values.type != type)
        return fail_type(key, expected, entry, err);
    *out = entry->values;
    return KL_OK;
}

bool kl_gguf_array_next_string(const struct kl_gguf_array *array, size_t *at,
                               struct kl_gguf_string *out)
{
    struct kl_reader r = {.data = array->data, .size = array->size, .pos = *at};
    uint64_t len;
    const uint8_t *data;
    if (!kl_read_u64(&r, &len) || !kl_read_bytes(&r, len, &data))
        return false;
    *out = (struct kl_gguf_string){(const char *)data, (size_t)len};
    *at = r.pos;
    return true;
}
