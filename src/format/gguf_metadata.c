#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_parser.h"

/* Caps, far above what a model has (Qwen2.5-0.5B: 26 keys) and low enough that a hostile file costs
 * neither memory nor time. */
#define MAX_KEY_LEN     256
#define MAX_STRING_LEN  ((uint64_t)1 << 20) /* in an array; one alone may be all the metadata */
#define MIN_ALIGNMENT   8
#define MAX_ALIGNMENT   4096
#define USUAL_ALIGNMENT 32

static const struct {
    const char *name; /* for error texts */
    size_t size;      /* the smallest size as stored, bytes */
} value_types[] = {
    [KL_GGUF_U8] = {"u8", 1},        [KL_GGUF_I8] = {"i8", 1},     [KL_GGUF_U16] = {"u16", 2},
    [KL_GGUF_I16] = {"i16", 2},      [KL_GGUF_U32] = {"u32", 4},   [KL_GGUF_I32] = {"i32", 4},
    [KL_GGUF_F32] = {"f32", 4},      [KL_GGUF_BOOL] = {"bool", 1}, [KL_GGUF_STRING] = {"string", 8},
    [KL_GGUF_ARRAY] = {"array", 12}, [KL_GGUF_U64] = {"u64", 8},   [KL_GGUF_I64] = {"i64", 8},
    [KL_GGUF_F64] = {"f64", 8},
};
enum { N_VALUE_TYPES = sizeof value_types / sizeof value_types[0] };

/* ---- reading --------------------------------------------------------------------------------- */

static enum kl_status read_value_type(struct kl_gguf_parser *p, const char *what,
                                      bool array_allowed, enum kl_gguf_type *out)
{
    size_t start = p->reader.pos;
    uint32_t type;
    enum kl_status status = kl_gguf_read_u32(p, what, &type);
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

/* Reads values->len values of values->type, one after the other; max_len: bytes of a string. */
static enum kl_status read_values(struct kl_gguf_parser *p, uint64_t max_len,
                                  struct kl_gguf_array *values)
{
    size_t start = p->reader.pos;
    uint64_t bytes;
    /* this also bounds the loops below: no more iterations than bytes in the file */
    if (!kl_mul(values->len, value_types[values->type].size, &bytes) ||
        bytes > kl_reader_left(&p->reader))
        return kl_gguf_fail_short(p, "the values");

    if (values->type == KL_GGUF_STRING) {
        struct kl_gguf_string ignored;
        for (uint64_t i = 0; i < values->len; i++) {
            enum kl_status status = kl_gguf_read_string(p, "a string", 0, max_len, &ignored);
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

static enum kl_status read_entry_value(struct kl_gguf_parser *p, struct kl_gguf_entry *entry)
{
    enum kl_status status = read_value_type(p, "the value type", true, &entry->values.type);
    if (status != KL_OK)
        return status;
    entry->values.len = 1;
    entry->is_array = entry->values.type == KL_GGUF_ARRAY;
    if (entry->is_array) {
        status = read_value_type(p, "the element type", false, &entry->values.type);
        if (status == KL_OK)
            status = kl_gguf_read_u64(p, "the array length", &entry->values.len);
        if (status != KL_OK)
            return status;
    }
    /* a whole tokenizer.json of some MB is a string that is not used here */
    return read_values(p, entry->is_array ? MAX_STRING_LEN : KL_GGUF_MAX_METADATA, &entry->values);
}

static int compare_entries(const void *a, const void *b)
{
    return kl_gguf_compare(((const struct kl_gguf_entry *)a)->key,
                           ((const struct kl_gguf_entry *)b)->key);
}

enum kl_status kl_gguf_read_entries(struct kl_gguf_parser *p)
{
    struct kl_gguf *g = p->gguf;
    for (size_t i = 0; i < g->n_entries; i++) {
        struct kl_gguf_entry *entry = &g->entries[i];
        enum kl_status status = kl_gguf_read_name(p, "a metadata key", MAX_KEY_LEN, &entry->key);
        if (status != KL_OK)
            return status;
        status = read_entry_value(p, entry);
        if (status != KL_OK) {
            kl_error_prefix(p->err, "key %.*s", KL_GGUF_SHOW(entry->key));
            return status;
        }
    }
    qsort(g->entries, g->n_entries, sizeof g->entries[0], compare_entries);
    for (size_t i = 1; i < g->n_entries; i++)
        if (kl_gguf_same(g->entries[i - 1].key, g->entries[i].key))
            return kl_fail(p->err, KL_ERR_FORMAT, "key %.*s: expected once, found a duplicate",
                           KL_GGUF_SHOW(g->entries[i].key));
    return KL_OK;
}

/* NULL when there is none. */
static const struct kl_gguf_entry *find_entry(const struct kl_gguf *g, const char *key)
{
    struct kl_gguf_entry wanted = {.key = {key, strlen(key)}};
    if (g->n_entries == 0)
        return NULL;
    return bsearch(&wanted, g->entries, g->n_entries, sizeof g->entries[0], compare_entries);
}

enum kl_status kl_gguf_find_alignment(struct kl_gguf_parser *p, uint64_t *alignment)
{
    *alignment = USUAL_ALIGNMENT;
    const struct kl_gguf_entry *entry = find_entry(p->gguf, "general.alignment");
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

/* ---- values ---------------------------------------------------------------------------------- */

bool kl_gguf_has(const struct kl_gguf *g, const char *key)
{
    return find_entry(g, key) != NULL;
}

static enum kl_status fail_missing(const char *key, const char *expected, struct kl_error *err)
{
    return kl_fail(err, KL_ERR_NOT_FOUND, "key %.80s: expected %s, but the file has no such key",
                   key, expected);
}

static enum kl_status fail_type(const char *key, const char *expected,
                                const struct kl_gguf_entry *entry, struct kl_error *err)
{
    return kl_fail(err, KL_ERR_FORMAT, "key %.80s: expected %s, found %s%s", key, expected,
                   entry->is_array ? "an array of " : "a single ",
                   value_types[entry->values.type].name);
}

/* Gives magnitude and sign of an integer of any type; returns false for other types. */
static bool integer_of(const struct kl_gguf_entry *entry, bool *negative, uint64_t *magnitude)
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
    const struct kl_gguf_entry *entry = find_entry(g, key);
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
    const struct kl_gguf_entry *entry = find_entry(g, key);
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
    const struct kl_gguf_entry *entry = find_entry(g, key);
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
    const struct kl_gguf_entry *entry = find_entry(g, key);
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
    const struct kl_gguf_entry *entry = find_entry(g, key);
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
