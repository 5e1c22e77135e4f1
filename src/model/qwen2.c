/*
 * Qwen2 and Qwen2.5: pre-norm transformer, grouped-query attention with biases on q, k and v, RoPE
 * with NEOX pairing, SwiGLU. Names of tensors: llama.cpp's for this architecture.
 */
#include "model/architecture.h"
#include "model/forward.h"

static enum kl_status declare_layer(struct kl_weights *w, const struct kl_config *c, size_t i,
                                    struct kl_layer *l, struct kl_error *err)
{
    size_t q_rows = c->n_heads * c->head_dim, kv_rows = c->n_kv_heads * c->head_dim;
    const struct {
        const char *name;
        size_t n_rows, k;
        struct kl_matrix *out;
    } matrices[] = {
        /* in the order in which a token reads them */
        {"attn_q", q_rows, c->n_embd, &l->q},
        {"attn_k", kv_rows, c->n_embd, &l->k},
        {"attn_v", kv_rows, c->n_embd, &l->v},
        {"attn_output", c->n_embd, q_rows, &l->attn_out},
        {"ffn_gate", c->n_ff, c->n_embd, &l->gate},
        {"ffn_up", c->n_ff, c->n_embd, &l->up},
        {"ffn_down", c->n_embd, c->n_ff, &l->down},
    };
    const struct {
        const char *name;
        size_t n;
        const float **out;
    } vectors[] = {
        {"attn_norm.weight", c->n_embd, &l->attn_norm}, {"attn_q.bias", q_rows, &l->q_bias},
        {"attn_k.bias", kv_rows, &l->k_bias},           {"attn_v.bias", kv_rows, &l->v_bias},
        {"ffn_norm.weight", c->n_embd, &l->ffn_norm},
    };
    for (size_t m = 0; m < sizeof matrices / sizeof matrices[0]; m++) {
        enum kl_status status =
            kl_weights_matrix(w, matrices[m].n_rows, matrices[m].k, matrices[m].out, err,
                              "blk.%zu.%s.weight", i, matrices[m].name);
        if (status != KL_OK)
            return status;
    }
    for (size_t v = 0; v < sizeof vectors / sizeof vectors[0]; v++) {
        enum kl_status status = kl_weights_vector(w, vectors[v].n, vectors[v].out, err,
                                                  "blk.%zu.%s", i, vectors[v].name);
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

static void run_layer(struct kl_forward *f, const struct kl_layer *l, size_t index)
{
    kl_step_norm(f, l->attn_norm);
    kl_step_qkv(f, l, index);
    kl_step_attention(f, l, index);
    kl_step_add_product(f, &l->attn_out, &f->attended);
    kl_step_norm(f, l->ffn_norm);
    kl_step_gate_up(f, l);
    kl_step_add_product(f, &l->down, &f->gated);
}

const struct kl_architecture kl_architecture_qwen2 = {
    .name = "qwen2",
    .declare_layer = declare_layer,
    .run_layer = run_layer,
};
