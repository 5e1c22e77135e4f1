/*
 * GGUF v2/v3 model files, read-only and mapped.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * _open checks everything before anything is used: magic, version, every count, length, type,
 * alignment and offset against what is left of the file; names unique; tensors inside the file and
 * not overlapping. After it returned KL_OK, the pointers below are good until _close. What the
 * values mean (hyper-parameters, vocabulary) is for the layers above to check.
 */
#ifndef KL_FORMAT_GGUF_H
#define KL_FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "format/quant.h"

#define KL_GGUF_MAX_DIMS 4

enum kl_gguf_type {
    KL_GGUF_U8 = 0,
    KL_GGUF_I8 = 1,
    KL_GGUF_U16 = 2,
    KL_GGUF_I16 = 3,
    KL_GGUF_U32 = 4,
    KL_GGUF_I32 = 5,
    KL_GGUF_F32 = 6,
    KL_GGUF_BOOL = 7,
    KL_GGUF_STRING = 8,
    KL_GGUF_ARRAY = 9,
    KL_GGUF_U64 = 10,
    KL_GGUF_I64 = 11,
    KL_GGUF_F64 = 12
};

/* Bytes inside the mapping; not NUL-terminated. */
struct kl_gguf_string {
    const char *data;
    size_t len;
};

struct kl_gguf_tensor {
    struct kl_gguf_string name;
    const struct kl_quant_type *type;
    uint32_t n_dims;
    /* dims[0] is the row length (fastest), as in the file; unused ones are 1 */
    uint64_t dims[KL_GGUF_MAX_DIMS];
    const uint8_t *data; /* dims[1]*dims[2]*dims[3] rows of dims[0] numbers */
    size_t size;         /* bytes */
};

struct kl_gguf;

/* The error text begins with the path. */
enum kl_status kl_gguf_open(const char *path, struct kl_gguf **gguf, struct kl_error *err);
void kl_gguf_close(struct kl_gguf *gguf);

const struct kl_mapped_file *kl_gguf_file(const struct kl_gguf *gguf);
/* Hash of everything before the tensor data (metadata and tensor directory). */
uint64_t kl_gguf_header_hash(const struct kl_gguf *gguf);

size_t kl_gguf_n_tensors(const struct kl_gguf *gguf);
const struct kl_gguf_tensor *kl_gguf_tensor_at(const struct kl_gguf *gguf, size_t i);
/* The i of a tensor of this file. */
size_t kl_gguf_tensor_index(const struct kl_gguf *gguf, const struct kl_gguf_tensor *tensor);
/* NULL when there is none of that name. */
const struct kl_gguf_tensor *kl_gguf_tensor(const struct kl_gguf *gguf, const char *name);

/* Metadata. Each fails with KL_ERR_NOT_FOUND when the key is missing and KL_ERR_FORMAT when it has
 * another type or lies outside [low, high]; the text names the key, what was expected and what was
 * found (not the file: callers put its path before this and their own texts). Integers of every
 * GGUF integer type are accepted where they fit. */
bool kl_gguf_has(const struct kl_gguf *gguf, const char *key);
enum kl_status kl_gguf_u64(const struct kl_gguf *gguf, const char *key, uint64_t low, uint64_t high,
                           uint64_t *out, struct kl_error *err);
/* F32 or F64; must be finite. */
enum kl_status kl_gguf_f64(const struct kl_gguf *gguf, const char *key, double low, double high,
                           double *out, struct kl_error *err);
enum kl_status kl_gguf_bool(const struct kl_gguf *gguf, const char *key, bool *out,
                            struct kl_error *err);
enum kl_status kl_gguf_string(const struct kl_gguf *gguf, const char *key,
                              struct kl_gguf_string *out, struct kl_error *err);

/* Arrays are walked in place. */
struct kl_gguf_array {
    enum kl_gguf_type type; /* of the elements; never KL_GGUF_ARRAY */
    uint64_t len;
    const uint8_t *data; /* the first element, as stored */
    size_t size;         /* bytes of all elements */
};

enum kl_status kl_gguf_array(const struct kl_gguf *gguf, const char *key, enum kl_gguf_type type,
                             struct kl_gguf_array *out, struct kl_error *err);

/* Walks an array of strings: *at starts as 0 and is advanced. false at the end. */
bool kl_gguf_array_next_string(const struct kl_gguf_array *array, size_t *at,
                               struct kl_gguf_string *out);

#endif
