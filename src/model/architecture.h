/*
 * A model family: its tensors and its layer. A new one is one file, and its name in
 * KL_ARCHITECTURES.
 */
#ifndef KL_MODEL_ARCHITECTURE_H
#define KL_MODEL_ARCHITECTURE_H

#include "model/weights.h"

/* One transformer layer. Vectors are f32; NULL where the family has none. */
struct kl_layer {
    const float *attn_norm, *ffn_norm;     /* [n_embd] */
    const float *q_bias, *k_bias, *v_bias; /* [heads * head_dim] */
    const float *q_norm, *k_norm;          /* [head_dim], of each head before RoPE */
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
    size_t n_threads;                            /* for reading and checking the weights */
    const struct kl_gguf_tensor *embedding;      /* [n_vocab, n_embd], read a row at a time */
    const struct kl_mapped_file *embedding_file; /* that contains it; NULL: in memory */
    const float *output_norm;                    /* [n_embd] */
    const float *rope_factors; /* [head_dim / 2] divide the rates of RoPE; NULL: none */
    /* [n_vocab, n_embd]; the embedding's where it is tied. Q8_0 is packed in two halves: output is
     * KL_Q8_HIGH and output_low KL_Q8_LOW; otherwise output_low is empty. */
    struct kl_matrix output, output_low;
    const struct kl_mapped_file *low_file; /* that contains output_low; NULL: in memory */
    struct kl_layer layers[];              /* [n_layers] */
};

struct kl_forward;

struct kl_architecture {
    const char *name; /* general.architecture */
    /* declares the tensors of one layer */
    enum kl_status (*declare_layer)(struct kl_weights *w, const struct kl_config *config,
                                    size_t layer, struct kl_layer *out, struct kl_error *err);
    /* runs one layer over the rows of the batch, by the operations of operations.h */
    void (*run_layer)(struct kl_forward *f, const struct kl_layer *layer, size_t index);
};

/* The layer that most families share (layer.c). */

/* The pairs of a head that RoPE rotates, as stored in the file: (i, i + dim/2) ("NEOX") or
 * (2i, 2i + 1) ("NORM" in llama.cpp). */
enum kl_rope_pairs { KL_ROPE_HALVES, KL_ROPE_NEIGHBOURS };

struct kl_vector {
    const char *name; /* without "blk.N." */
    size_t n;
    const float **out;
};

/* The matrices of attention and of a gated feed-forward, and the norms before them. */
enum kl_status kl_layer_declare(struct kl_weights *w, const struct kl_config *config,
                                enum kl_rope_pairs pairs, size_t layer, struct kl_layer *out,
                                struct kl_error *err);
enum kl_status kl_layer_vectors(struct kl_weights *w, size_t layer, const struct kl_vector *vectors,
                                size_t n, struct kl_error *err);
/* norm, attention, norm, feed-forward; biases and norms of q and k where the layer has them */
void kl_layer_run(struct kl_forward *f, const struct kl_layer *layer, size_t index);

/* The families: each file NAME.c defines kl_architecture_NAME. */
#define KL_ARCHITECTURES(X)           X(llama) X(qwen2) X(qwen3)
#define KL_DECLARE_ARCHITECTURE(name) extern const struct kl_architecture kl_architecture_##name;
KL_ARCHITECTURES(KL_DECLARE_ARCHITECTURE)

#endif
