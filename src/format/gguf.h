/*
 * GGUF v2/v3 model files, read-only and mapped.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * kl_gguf_open() checks everything before anything is used: the magic number and version; every
 * count, length, type, alignment and offset against the bytes that are left of the file; that names
 * are unique, and that tensors lie inside the file and do not overlap. After it returned KL_OK, all
 * pointers that the functions below give out are valid until kl_gguf_close().
 *
 * A model in several files (NAME-00001-of-00003.gguf and so on, as llama.cpp's gguf-split writes
 * them) is opened by the name of the first: metadata are those of the first, tensors those of all.
 * A part of another model is refused where anything says so: its place, the number of all tensors,
 * their names and shapes, and the names and the file type of the model, if it has them. gguf-split
 * writes none of these into later parts, so one of another quantisation of the same model, split at
 * the same tensors, cannot be told: it is read as it is, each tensor by its own type.
 *
 * The struct kl_gguf belongs to the caller. It does not change once it is open, so any number of
 * threads may read it. Does not know what the values mean (hyper-parameters, vocabulary): the rooms
 * that use them check that.
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
    size_t size;         /* bytes of data */
};

struct kl_gguf;

/* Maps and checks a file. Errors begin with the path; KL_ERR_FORMAT: the file is damaged or not
 * GGUF; KL_ERR_UNSUPPORTED: a version or a type that kinglet does not read, or a part of a model
 * that is not the first; KL_ERR_NOT_FOUND: the file or a part is missing; KL_ERR_LIMIT: too many
 * keys, tensors, parts or bytes of metadata. The caller owns *gguf. */
enum kl_status kl_gguf_open(const char *path, struct kl_gguf **gguf, struct kl_error *err);
void kl_gguf_close(struct kl_gguf *gguf);

const struct kl_mapped_file *kl_gguf_file(const struct kl_gguf *gguf);
/* A hash of everything before the tensor data (metadata and tensor directory). */
uint64_t kl_gguf_header_hash(const struct kl_gguf *gguf);

size_t kl_gguf_n_tensors(const struct kl_gguf *gguf);
const struct kl_gguf_tensor *kl_gguf_tensor_at(const struct kl_gguf *gguf, size_t i);
/* The index of a tensor of this file: kl_gguf_tensor_at() of it is `tensor`. */
size_t kl_gguf_tensor_index(const struct kl_gguf *gguf, const struct kl_gguf_tensor *tensor);
/* The tensor with a name; NULL if there is none. */
const struct kl_gguf_tensor *kl_gguf_tensor(const struct kl_gguf *gguf, const char *name);

/* Metadata. Each function returns KL_ERR_NOT_FOUND when the key is missing and KL_ERR_FORMAT when
 * the value has another type or lies outside [low, high]. The text names the key, the expected and
 * the found value, but not the file: callers put its path before this text and their own. Integers
 * of every GGUF integer type are accepted where they fit. */
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

/* An array of the metadata, in place. */
struct kl_gguf_array {
    enum kl_gguf_type type; /* of the elements; never KL_GGUF_ARRAY */
    uint64_t len;
    const uint8_t *data; /* the first element, as stored */
    size_t size;         /* bytes of all elements */
};

enum kl_status kl_gguf_array(const struct kl_gguf *gguf, const char *key, enum kl_gguf_type type,
                             struct kl_gguf_array *out, struct kl_error *err);

/* Reads the next string of an array of strings and advances *at, which starts as 0. Returns false
 * at the end. */
bool kl_gguf_array_next_string(const struct kl_gguf_array *array, size_t *at,
                               struct kl_gguf_string *out);

#endif
