/*
 * Qwen3 (dense): as Qwen2, but without biases; the queries and keys of each head are normalised
 * before RoPE, and heads have a width of their own (attention.key_length). Names of tensors:
 * llama.cpp's for this architecture.
 */
#include "model/architecture.h"

static enum kl_status declare_layer(struct kl_weights *w, const struct kl_config *c, size_t i,
                                    struct kl_layer *l, struct kl_error *err)
{
    const struct kl_vector norms[] = {{"attn_q_norm.weight", c->head_dim, &l->q_norm},
                                      {"attn_k_norm.weight", c->head_dim, &l->k_norm}};
    enum kl_status status = kl_layer_declare(w, c, KL_ROPE_HALVES, i, l, err);
    return status == KL_OK ? kl_layer_vectors(w, i, norms, 2, err) : status;
}

const struct kl_architecture kl_architecture_qwen3 = {
    .name = "qwen3",
    .declare_layer = declare_layer,
    .run_layer = kl_layer_run,
};
