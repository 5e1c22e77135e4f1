/*
 * What a model family is made of. A new one is one file and one row in kl_architectures (model.c).
 */
#ifndef KL_MODEL_ARCHITECTURE_H
#define KL_MODEL_ARCHITECTURE_H

#include "model/weights.h"

/* One transformer layer. Vectors are f32; those a family does not have are NULL. */
struct kl_layer {
    const float *attn_norm, *ffn_norm;     /* [n_embd] */
    const float *q_bias, *k_bias, *v_bias; /* [heads * head_dim] */
    struct kl_matrix q, k, v;              /* [heads * head_dim, n_embd] */
    struct kl_matrix attn_out;             /* [n_embd, n_heads * head_dim] */
    struct kl_matrix gate, up;             /* [n_ff, n_embd] */
    struct kl_matrix down;                 /* [n_embd, n_ff] */
};

struct kl_model {
    const struct kl_architecture *architecture;
    const struct kl_kernels *kernels;
    enum kl_kv_type kv_type;
    bool plain_attention;
    struct kl_config config;
    struct kl_weights weights;
    size_t n_threads;                            /* that read and check the weights */
    const struct kl_gguf_tensor *embedding;      /* [n_vocab, n_embd], read a row at a time */
    const struct kl_mapped_file *embedding_file; /* it lies in; NULL: in memory */
    const float *output_norm;                    /* [n_embd] */
    /* [n_vocab, n_embd]; the embedding's where it is tied. Q8_0 is packed in two halves: output is
     * KL_Q8_HIGH and output_low KL_Q8_LOW; otherwise output_low is empty. */
    struct kl_matrix output, output_low;
    const struct kl_mapped_file *low_file; /* output_low lies in; NULL: in memory */
    struct kl_layer layers[];              /* [n_layers] */
};

struct kl_forward;

struct kl_architecture {
    const char *name; /* general.architecture */
    /* declares the tensors of one layer */
    enum kl_status (*declare_layer)(struct kl_weights *w, const struct kl_config *config,
                                    size_t layer, struct kl_layer *out, struct kl_error *err);
    /* runs one layer over the rows of the batch, by the steps of forward.h */
    void (*run_layer)(struct kl_forward *f, const struct kl_layer *layer, size_t index);
};

extern const struct kl_architecture kl_architecture_qwen2;

#endif
