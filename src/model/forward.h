/*
 * The steps a layer is made of: for the files of the architectures only.
 *
 * Each step is one job of the thread pool (one barrier), cut into items that write disjoint parts
 * of its output, so the bits do not depend on who runs which. Norms of a single row are done by
 * the calling thread without a barrier. A layer has 5 barriers while decoding.
 */
#ifndef KL_MODEL_FORWARD_H
#define KL_MODEL_FORWARD_H

#include "model/architecture.h"
#include "model/kv_cache.h"

/* Rows of the batch that continue each other in one sequence, at most KL_ATTEND_ROWS. */
struct kl_row_run {
    size_t first, n;
};

/* Of an output head that can be screened (head.h). */
struct kl_head {
    float *bounds;     /* [KL_HEAD_ROWS, n_groups] no logit of the group is above it */
    uint32_t *groups;  /* [KL_HEAD_ROWS, n_groups] those to be computed */
    uint8_t *low;      /* [threads, bytes of a group of the lower bits] */
    bool low_resident; /* since all logits were computed */
    size_t bytes;
};

/* Rows that are screened in one go over the upper bits. */
enum { KL_HEAD_ROWS = 8 };

struct kl_forward {
    const struct kl_model *model;
    struct kl_pool *pool;
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
    double *frequencies;            /* [head_dim / 2] */
    size_t *positions;              /* [max_rows] */
    struct kl_row_run *runs;        /* [max_rows] what one item of attention does */
    size_t n_runs;

    /* Of an int8 KV cache, which adds rotated biases when it is read: the angles of the first
     * positions of pages (n_pages of them known so far) and those of the positions in a page. */
    float *page_cosine, *page_sine; /* [pages, head_dim / 2] */
    float *slot_cosine, *slot_sine; /* [head_dim / 2, KL_KV_PAGE_TOKENS] */
    float *no_bias;                 /* [head_dim] zeros, where a model has none */
    size_t n_pages;

    float *scores; /* plain attention: [threads, scores of an item] */
    size_t scores_size;
    uint8_t *scratch; /* [threads, scratch_size] */
    size_t scratch_size;
    struct kl_head head; /* has memory of its own */

    /* the batch that runs now */
    const struct kl_row *rows;
    size_t n_rows;
    size_t *output_rows; /* [max_rows] those that want something of the head, the screened first */
    size_t n_screened;
    size_t n_looked_up; /* rows of the embedding table since its pages were given back */
    bool (*stop)(void *context);
    void *stop_context;
    bool stopped; /* the steps that follow do nothing */
};

/* One job of the pool, unless the pass was stopped. */
void kl_forward_parallel(struct kl_forward *f, size_t n_items, kl_pool_fn *fn, void *context);
/* A worker's own memory: for a product, and for the results of an item (32 columns of all rows, or
 * more). */
void *kl_forward_scratch(struct kl_forward *f, size_t worker);
float *kl_forward_result(struct kl_forward *f, size_t worker);

/* normed = quantise(RMSNorm(x) * weight) */
void kl_op_norm(struct kl_forward *f, const float *weight);

/* q, k, v of normed, with bias where there is one, norms of q and k where there are, and RoPE; k
 * and v into the KV pages. No family has both a bias and a norm: an int8 KV cache could not keep
 * them apart. */
void kl_op_qkv(struct kl_forward *f, const struct kl_layer *l, size_t layer);

/* attended = quantise(softmax(q k / sqrt(head_dim)) v) over each row's sequence so far */
void kl_op_attention(struct kl_forward *f, const struct kl_layer *l, size_t layer);

/* x += matrix * in */
void kl_op_add_product(struct kl_forward *f, const struct kl_matrix *matrix,
                       const struct kl_activations *in);

/* gated = quantise(silu(gate * normed) * (up * normed)) */
void kl_op_gate_up(struct kl_forward *f, const struct kl_layer *l);

#endif
