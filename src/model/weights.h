/*
 * The weights of a model: declared by name and shape, then mapped from the packed file, or packed.
 *
 * A model family declares every tensor that it needs with the shape that follows from the
 * configuration (weights.c); a missing, misshapen or superfluous tensor is refused by name. Vectors
 * (norms, biases) are copied as f32. Matrices point into the mapped packed file (weights_file.c),
 * or into memory where no such file can be kept. One thread; owned by the model.
 */
#ifndef KL_MODEL_WEIGHTS_H
#define KL_MODEL_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/digest.h"
#include "format/sections.h"
#include "model/model.h"

struct kl_matrix {
    enum kl_quant type;
    size_t n_rows;
    size_t k;        /* columns */
    size_t n_groups; /* of KL_LANES rows, the last one padded */
    const uint8_t *data;
};

struct kl_declared_matrix;

struct kl_weights {
    const struct kl_gguf *gguf;
    struct kl_declared_matrix *declared; /* matrices, in the order they are read while running */
    size_t n_declared;
    const struct kl_gguf_tensor **used; /* tensors of the file that were declared */
    size_t n_used;
    size_t max_used; /* room in `declared` and `used` */
    float *vectors;
    size_t vectors_used, vectors_size; /* floats */
    char *packed_dir;                  /* NULL: pack into memory */
    bool known;                        /* content is; always after kl_weights_prepare */
    struct kl_digest content;          /* of all tensors of the file */
    struct kl_sections packed;
    void *memory; /* packed in memory: the mapping, or NULL */
    size_t memory_size;
};

enum kl_status kl_weights_init(struct kl_weights *w, const struct kl_gguf *gguf,
                               struct kl_error *err);
void kl_weights_release(struct kl_weights *w);

/* Declares a matrix [n_rows, k]. *out is filled by kl_weights_prepare. name: a printf format. */
enum kl_status kl_weights_matrix(struct kl_weights *w, size_t n_rows, size_t k,
                                 struct kl_matrix *out, struct kl_error *err, const char *name, ...)
    __attribute__((format(printf, 6, 7)));

/* The same, packed as `type` instead of the type of the tensor (see kl_pack_group). */
enum kl_status kl_weights_matrix_as(struct kl_weights *w, enum kl_quant type, size_t n_rows,
                                    size_t k, struct kl_matrix *out, struct kl_error *err,
                                    const char *name);

/* The same for the queries or keys of heads of `dim` that files store for a RoPE of neighbours
 * (2i, 2i + 1): the even rows of each head are packed first, so that the pairs are those of the
 * kernels, (i, i + dim/2). Scores are sums over a head, so the order within it does not matter. */
enum kl_status kl_weights_neighbours(struct kl_weights *w, size_t dim, size_t n_rows, size_t k,
                                     struct kl_matrix *out, struct kl_error *err, const char *name);

/* Declares a table [n_rows, k] that is read from the model file itself, a row at a time. */
enum kl_status kl_weights_table(struct kl_weights *w, size_t n_rows, size_t k,
                                const struct kl_gguf_tensor **out, const char *name,
                                struct kl_error *err);

/* Declares a vector [n], converted to f32 at once; owned by the weights. */
enum kl_status kl_weights_vector(struct kl_weights *w, size_t n, const float **out,
                                 struct kl_error *err, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* After all declarations: refuses tensors that were not declared, and maps the packed file in
 * packed_dir (may be NULL) if it exists. */
enum kl_status kl_weights_open(struct kl_weights *w, const char *packed_dir, struct kl_error *err);

/* Reads and checks the packed file, or makes it: see kl_model_prepare. */
enum kl_status kl_weights_prepare(struct kl_weights *w, size_t n_threads,
                                  kl_model_progress_fn *progress, void *context,
                                  struct kl_error *err);

/* Bytes of a matrix, packed; 0 for an empty one. */
uint64_t kl_matrix_bytes(const struct kl_matrix *matrix);
/* Bytes of all matrices, packed. */
uint64_t kl_weights_bytes(const struct kl_weights *w);

#endif
