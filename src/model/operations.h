/*
 * The operations that a layer consists of, and the buffers they work on: for the files of the model
 * families (layer.c), the output head and the pass only.
 *
 * Each operation is one run of the thread pool (one barrier), cut into items that write disjoint
 * parts of its output, so the bits do not depend on which thread runs which item. The norm of a
 * single row is computed by the calling thread without a barrier. A layer has 5 barriers while one
 * conversation is decoded. Belongs to the thread that runs the pass; does not allocate.
 */
#ifndef KL_MODEL_OPERATIONS_H
#define KL_MODEL_OPERATIONS_H

#include "model/architecture.h"
#include "model/kv_cache.h"

/* Consecutive rows of one sequence in the batch, at most KL_ATTEND_ROWS. */
struct kl_row_run {
    size_t first, n;
};

/* Buffers of an output head that finds candidates by bounds (head.h). */
struct kl_head {
    float *bounds;     /* [KL_HEAD_ROWS, n_groups] upper bounds of the logits of a group */
    uint32_t *groups;  /* [KL_HEAD_ROWS, n_groups] the groups to compute */
    uint8_t *low;      /* [threads, bytes of a group of the lower bits] */
    bool low_resident; /* the lower bits are: all logits were computed */
    size_t bytes;
};

/* Rows that share one reading of the upper bits. */
enum { KL_HEAD_ROWS = 16 };

struct kl_forward {
    const struct kl_model *model;
    struct kl_pool *pool;
    bool owns_pool; /* otherwise it is lent */
    struct kl_threads threads;
    size_t max_rows;
    size_t bytes;
    void *memory; /* everything below lies in it */

    float *x;                       /* [max_rows, n_embd] the residual stream */
    struct kl_activations normed;   /* [max_rows, n_embd] */
    float *q;                       /* [n_kv_heads, max_rows, n_heads / n_kv_heads * head_dim] */
    struct kl_activations attended; /* [max_rows, n_heads * head_dim] */
    struct kl_activations gated;    /* [max_rows, n_ff] */
    float *cosine, *sine;           /* [max_rows, head_dim / 2] of each row's position */
    double *frequencies;            /* [head_dim / 2] angle of each pair for a position */
    size_t *positions;              /* [max_rows] */
    struct kl_row_run *runs;        /* [max_rows] the rows of one item of attention */
    size_t n_runs;
    size_t *places; /* [max_rows] of each row of the batch that has an output: its row above */

    /* For an int8 KV cache, to which rotated biases are added when it is read: the angles of the
     * first position of each page (of the first n_pages so far) and of the offsets in a page. */
    float *page_cosine, *page_sine;     /* [pages, head_dim / 2] */
    float *offset_cosine, *offset_sine; /* [head_dim / 2, KL_KV_PAGE_TOKENS] */
    float *no_bias;                     /* [head_dim] zeros, for models without biases */
    size_t n_pages;

    float *scores; /* plain attention: [threads, scores of an item] */
    size_t scores_size;
    uint8_t *scratch; /* [threads, scratch_size] */
    size_t scratch_size;
    struct kl_head head; /* allocated by itself */

    /* The current batch; from the middle of the last layer on, only its rows with an output. */
    struct kl_row *rows; /* [max_rows] */
    size_t n_rows;
    size_t *output_rows; /* [max_rows] rows with logits or candidates, the screened first */
    size_t n_screened;
    bool (*stop)(void *context);
    void *stop_context;
    bool stopped; /* the remaining operations do nothing */

    struct kl_profile *profile; /* NULL: time is not measured */
};

/* Runs an operation, a part of `step`, on the pool, unless the pass was stopped or no row is left.
 */
void kl_forward_parallel(struct kl_forward *f, enum kl_step step, size_t n_items, kl_pool_fn *fn,
                         void *context);
/* Memory of one worker: for a product, and for the results of an item (32 columns of all rows, or
 * more). */
void *kl_forward_scratch(struct kl_forward *f, size_t worker);
float *kl_forward_result(struct kl_forward *f, size_t worker);

/* Pages of the longest context. */
static inline size_t kl_context_pages(const struct kl_config *c)
{
    return (c->n_ctx_train + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
}

/* normed = quantise(RMSNorm(x) * weight), of all rows; or of the rows with these indices [n]. */
void kl_op_norm(struct kl_forward *f, const float *weight);
void kl_op_norm_rows(struct kl_forward *f, const float *weight, const size_t *rows, size_t n);

/* q, k, v = matrices * normed, with the biases and the norms of q and k that the layer has, and
 * RoPE; stores k and v in the KV pages. In the last layer without the queries before the first row
 * with an output. No family has both a bias and a norm: an int8 KV cache could not separate
 * them. */
void kl_op_qkv(struct kl_forward *f, const struct kl_layer *l, size_t layer);

/* In the last layer, drops the rows without an output: after its keys and values nothing reads what
 * would be computed for them. */
void kl_op_keep_outputs(struct kl_forward *f, size_t layer);

/* attended = quantise(softmax(q k / sqrt(head_dim)) v) over each row's sequence so far */
void kl_op_attention(struct kl_forward *f, const struct kl_layer *l, size_t layer);

/* x += matrix * in */
void kl_op_add_product(struct kl_forward *f, enum kl_step step, const struct kl_matrix *matrix,
                       const struct kl_activations *in);

/* gated = quantise(silu(gate * normed) * (up * normed)) */
void kl_op_gate_up(struct kl_forward *f, const struct kl_layer *l);

#endif
