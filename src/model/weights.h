/*
 * Weights by name and shape: declared by the architecture, then packed or found packed.
 *
 * An architecture declares every tensor it needs with the shape that follows from the
 * configuration; a missing, misshapen or superfluous tensor is refused by name. Vectors (norms,
 * biases) are copied as f32. Matrices point into the mapped packed file, or into memory where no
 * such file can be kept.
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
    size_t k;        /* columns: the length of what it is multiplied with */
    size_t n_groups; /* of KL_LANES rows, the last one padded */
    const uint8_t *data;
};

struct kl_weights {
    const struct kl_gguf *gguf;
    struct declared *declared; /* matrices, in the order they are read while running */
    size_t n_declared;
    const struct kl_gguf_tensor **used; /* tensors of the file that were asked for */
    size_t n_used;
    size_t max_used; /* room in `declared` and `used` */
    float *vectors;
    size_t vectors_used, vectors_size; /* floats */
    char *packed_dir;                  /* NULL: pack into memory */
    bool known;                        /* content is; it is when the weights are warm */
    struct kl_digest content;          /* of all tensors of the file */
    struct kl_sections packed;
    void *memory; /* packed in memory: the mapping, or NULL */
    size_t memory_size;
};

enum kl_status kl_weights_init(struct kl_weights *w, const struct kl_gguf *gguf,
                               struct kl_error *err);
void kl_weights_release(struct kl_weights *w);

/* A matrix of n_rows rows of k. *out is filled by kl_weights_prepare. name: a printf format. */
enum kl_status kl_weights_matrix(struct kl_weights *w, size_t n_rows, size_t k,
                                 struct kl_matrix *out, struct kl_error *err, const char *name, ...)
    __attribute__((format(printf, 6, 7)));

/* The same, to be packed as `type` whatever the tensor is (kl_pack_group says what can be). */
enum kl_status kl_weights_matrix_as(struct kl_weights *w, enum kl_quant type, size_t n_rows,
                                    size_t k, struct kl_matrix *out, struct kl_error *err,
                                    const char *name);

/* The same for the queries or keys of heads of `dim` that files keep for a RoPE of neighbours
 * (2i, 2i + 1): the rows of each head are packed with the even ones first, so that the pairs are
 * those of our kernels, (i, i + dim/2). Scores are sums over a head: its order does not matter. */
enum kl_status kl_weights_neighbours(struct kl_weights *w, size_t dim, size_t n_rows, size_t k,
                                     struct kl_matrix *out, struct kl_error *err, const char *name);

/* A table of n_rows rows of k that is read from the file itself, a row at a time. */
enum kl_status kl_weights_table(struct kl_weights *w, size_t n_rows, size_t k,
                                const struct kl_gguf_tensor **out, const char *name,
                                struct kl_error *err);

/* A vector of n numbers, as f32 at once; owned by the weights. */
enum kl_status kl_weights_vector(struct kl_weights *w, size_t n, const float **out,
                                 struct kl_error *err, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* After everything was declared: refuses tensors nobody asked for, and maps the packed file of
 * packed_dir (may be NULL) if it is there. */
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
