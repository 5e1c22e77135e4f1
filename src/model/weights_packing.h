/*
 * Packing: matrices of the model file to our layout, in memory or in a file, with the digest of
 * what was read.
 *
 * For weights.c and weights_file.c only. One thread; kl_packing uses a pool of its own.
 */
#ifndef KL_MODEL_WEIGHTS_PACKING_H
#define KL_MODEL_WEIGHTS_PACKING_H

#include "base/pool.h"
#include "model/weights.h"

struct kl_declared_matrix {
    const struct kl_gguf_tensor *tensor;
    struct kl_matrix *matrix;
    size_t neighbours_dim; /* of heads whose rows are reordered; 0: none are */
};

/* Receives the packed bytes of a matrix, panel by panel. */
typedef enum kl_status kl_pack_sink_fn(void *context, const void *data, size_t len,
                                       struct kl_error *err);

struct kl_packing_progress {
    kl_model_progress_fn *report; /* may be NULL */
    void *context;
    uint64_t done, reported, total; /* bytes */
};

struct kl_packing {
    struct kl_packing_progress progress;
    size_t n_threads;
    struct kl_pool *pool;             /* computes the digests; NULL: packing has not begun */
    struct kl_tensor_digests digests; /* of the tensors read so far, unless they are known */
};

/* Begins, or begins again from the first matrix. _end also after a failure. */
enum kl_status kl_packing_begin(struct kl_packing *p, const struct kl_gguf *gguf,
                                struct kl_error *err);
void kl_packing_end(struct kl_packing *p);

/* Reports the progress; KL_ERR_CANCELLED when the caller of kl_weights_prepare wants no more. */
enum kl_status kl_packing_report(struct kl_packing_progress *p, struct kl_error *err);

/* Packs one matrix into the sink, and releases its pages of the model file. */
enum kl_status kl_packing_matrix(struct kl_weights *w, const struct kl_declared_matrix *d,
                                 kl_pack_sink_fn *sink, void *context, struct kl_packing *p,
                                 struct kl_error *err);

/* Sets w->content, if it is not known: reads all tensors that have no digest yet. */
enum kl_status kl_packing_digest(struct kl_weights *w, struct kl_packing *p, struct kl_error *err);

#endif
