/*
 * Qwen2 and Qwen2.5: pre-norm transformer, grouped-query attention with biases on q, k and v, RoPE
 * with NEOX pairing, SwiGLU. Names of tensors: llama.cpp's for this architecture.
 */
#include "model/architecture.h"

static enum kl_status declare_layer(struct kl_weights *w, const struct kl_config *c, size_t i,
                                    struct kl_layer *l, struct kl_error *err)
{
    size_t q_rows = c->n_heads * c->head_dim, kv_rows = c->n_kv_heads * c->head_dim;
    const struct kl_vector biases[] = {{"attn_q.bias", q_rows, &l->q_bias},
                                       {"attn_k.bias", kv_rows, &l->k_bias},
                                       {"attn_v.bias", kv_rows, &l->v_bias}};
    enum kl_status status = kl_layer_declare(w, c, KL_ROPE_HALVES, i, l, err);
    return status == KL_OK ? kl_layer_vectors(w, i, biases, 3, err) : status;
}

const struct kl_architecture kl_architecture_qwen2 = {
    .name = "qwen2",
    .declare_layer = declare_layer,
    .run_layer = kl_layer_run,
};
